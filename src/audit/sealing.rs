//! Authenticating audit logs after an upgrade from a version without authentication, or after the root
//! secret was replaced.
//!
//! The check value of the installation shows which of these applies ([`installation::open`]). Only the
//! root secret can produce it, so no one else can make logs look as if they still had to be hashed and
//! authenticated.

use diesel::prelude::*;

use crate::audit::head::{self, HeadRow};
use crate::audit::register::Register;
use crate::audit::tree::{self, Edge};
use crate::audit::{log, signing, store};
use crate::crypto::{Keyring, Root};
use crate::db::{Db, LogGuard, Tx};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::installation::{self, SealState};
use crate::schema::{audit_checkpoints, audit_entries, audit_heads, audit_register, audit_signers};

/// How many entries from before the tree existed are hashed in one transaction.
const BATCH: i64 = 5_000;

const SIGNED: &str = "the log was signed before the upgrade, but its tree was removed";

/// Authenticates all logs that are not yet authenticated. `announce` tells other processes that the
/// database now belongs to another root secret.
pub fn seal_logs(
    db: &Db,
    keyring: &Keyring,
    previous: Option<&Root>,
    seal_state: SealState,
    announce: impl Fn(&mut Tx<'_>) -> Result<()>,
) -> Result<()> {
    db.logs().unlock(keyring.log_seal(), keyring.previous_log_seal(), seal_state != SealState::Overtaken);
    if seal_state == SealState::Unsealed {
        hash_all(db)?;
    }
    if matches!(seal_state, SealState::Current | SealState::Overtaken) {
        return Ok(());
    }
    db.write_now(|tx| {
        match installation::seal_state(tx, keyring, previous)? {
            SealState::Current | SealState::Overtaken => return Ok(()),
            SealState::Unsealed => seal_all(tx)?,
            SealState::Replaced => reseal_all(tx, keyring)?,
        }
        // Other processes must see both changes or neither.
        announce(tx)?;
        installation::mark_sealed(tx, keyring)
    })
}

/// The first authentication, after the upgrade.
fn seal_all(tx: &mut Tx<'_>) -> Result<()> {
    let heads = head::all(tx.conn)?;
    let registers: i64 = audit_register::table.count().get_result(tx.conn)?;
    if registers > 0 || heads.iter().any(|head| head.mac.is_some()) {
        // The check value is an old copy, so the logs are judged like those of any other database.
        tracing::error!("the database claims to be from before the upgrade; its logs stay unauthenticated");
        return Ok(());
    }
    let mut register = Register::default();
    for mut head in heads {
        for kept in store::checkpoints_after(tx.conn, head.org, 0, i64::MAX)? {
            head.add_checkpoint(kept.size, &kept.note);
        }
        if head.hashed != head.size || head.tree().is_none() {
            head.broken_at = Some(head.hashed);
            head.broken_why = Some(SIGNED.to_owned());
        }
        register.record(&head);
        head.save(tx)?;
        tracing::warn!(
            organization = %head.org, entries = head.size,
            "the audit log is authenticated from now on; this message appears once, after the upgrade"
        );
    }
    register.write(tx)?;
    let signers = audit_signers::table.select((audit_signers::org_id, audit_signers::verifier));
    for (org, verifier) in signers.load::<(OrgId, String)>(tx.conn)? {
        signing::seal_signer(tx, org, &verifier)?;
    }
    Ok(())
}

/// Re-authenticates logs that were authentic under the previous root secret. Others stay unauthenticated.
fn reseal_all(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let Some(previous) = keyring.previous_log_seal() else { return Ok(()) };
    let before = LogGuard::default();
    before.unlock(previous, None, true);
    // Keeps organisations from starting a log meanwhile.
    Register::lock_row(tx)?;
    let mut orgs: Vec<OrgId> = head::all(tx.conn)?.iter().map(|head| head.org).collect();
    orgs.sort_unstable();
    for org in orgs {
        // Processes that still use the previous secret may append meanwhile.
        let mut head = head::lock(tx, org)?;
        if head.fault(&before, None)?.is_none() {
            head.save(tx)?;
        }
    }
    if let Some(register) = Register::read(tx.conn, &before)? {
        register.store(tx.conn, tx.logs.seal()?)?;
    }
    for (org, verifier) in signing::authentic_signers(tx.conn, &before)? {
        signing::seal_signer(tx, org, &verifier)?;
    }
    Ok(())
}

/// Hashes all entries from before the tree existed, in batches.
fn hash_all(db: &Db) -> Result<()> {
    let orgs: Vec<OrgId> = db.read_now(|conn| {
        let behind = audit_heads::table.filter(audit_heads::hashed.lt(audit_heads::size));
        Ok(behind.select(audit_heads::org_id).load(conn)?)
    })?;
    for org in orgs {
        while db.write_now(|tx| hash_some(tx, org))? {}
    }
    Ok(())
}

/// Hashes the next batch of unhashed entries; `false` if none are left. A log that was ever signed is
/// skipped: nothing may replace what was signed.
fn hash_some(tx: &mut Tx<'_>, org: OrgId) -> Result<bool> {
    let mut head = head::lock(tx, org)?;
    let signed: i64 =
        audit_checkpoints::table.filter(audit_checkpoints::org_id.eq(org)).count().get_result(tx.conn)?;
    let Some(mut edge) = head.tree() else { return Ok(false) };
    if head.hashed >= head.size || head.mac.is_some() || signed > 0 || head.origin.is_some() {
        return Ok(false);
    }
    hash_stored(tx, &mut head, &mut edge)?;
    diesel::update(audit_heads::table.find(org))
        .set((audit_heads::hashed.eq(head.hashed), audit_heads::edge.eq(head.edge.as_deref())))
        .execute(tx.conn)?;
    Ok(true)
}

fn hash_stored(tx: &mut Tx<'_>, head: &mut HeadRow, edge: &mut Edge) -> Result<()> {
    let start = head.hashed;
    let rows = store::texts(tx.conn, head.org, start.cast_unsigned(), BATCH)?;
    let mut leaves = Vec::with_capacity(rows.len());
    for (row, expected) in rows.iter().zip(start..head.size) {
        if row.index != expected {
            return Err(Error::internal(format!("the audit log has no entry {expected}")));
        }
        let leaf = tree::leaf(row.text.as_bytes());
        let body: serde_json::Value = serde_json::from_str(&row.text).map_err(Error::internal)?;
        let place = audit_entries::org_id.eq(head.org).and(audit_entries::position.eq(expected));
        diesel::update(audit_entries::table.filter(place))
            .set((
                audit_entries::leaf.eq(leaf.as_slice()),
                audit_entries::address.eq(body["address"].as_str()),
            ))
            .execute(tx.conn)?;
        leaves.push(leaf);
    }
    if leaves.is_empty() {
        return Err(Error::internal(format!("the audit log has no entry {start}")));
    }
    log::grow(tx, head, edge, &leaves)
}
