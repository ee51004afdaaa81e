//! Authenticating the logs of a database that was made without, or under a secret that has been
//! replaced.
//!
//! The check value of the installation tells which of these a database is ([`installation::unlock`]).
//! It can be computed with the root secret alone, so nobody without it can make a database look as
//! if its logs were not authenticated yet and had to be hashed and authenticated again.

use diesel::prelude::*;

use crate::audit::head::{self, Row};
use crate::audit::register::Register;
use crate::audit::tree::{self, Edge};
use crate::audit::{log, signing, store};
use crate::crypto::{Keyring, Root};
use crate::db::{Db, LogGuard, Tx};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::installation::{self, Standing};
use crate::schema::{audit_checkpoints, audit_entries, audit_heads, audit_register, audit_signers};

/// How many entries of before there was a tree are hashed in one transaction.
const BATCH: i64 = 5_000;

const SIGNED: &str = "the log was signed before, but its tree was removed before the upgrade";

/// Authenticates all logs, unless they are. `announce` tells other processes that the database belongs to
/// another root secret now.
pub fn settle(
    db: &Db,
    keyring: &Keyring,
    previous: Option<&Root>,
    standing: Standing,
    announce: impl Fn(&mut Tx<'_>) -> Result<()>,
) -> Result<()> {
    db.logs().unlock(keyring.log_seal(), keyring.previous_log_seal(), standing != Standing::Overtaken);
    if standing == Standing::Unsealed {
        hash_all(db)?;
    }
    if matches!(standing, Standing::Settled | Standing::Overtaken) {
        return Ok(());
    }
    db.write_now(|tx| {
        match installation::standing(tx, keyring, previous)? {
            Standing::Settled | Standing::Overtaken => return Ok(()),
            Standing::Unsealed => seal_all(tx)?,
            Standing::Replaced => reseal_all(tx, keyring)?,
        }
        // Other processes must never see one change without the other.
        announce(tx)?;
        installation::settle(tx, keyring)
    })
}

/// The first authentication, after an upgrade.
fn seal_all(tx: &mut Tx<'_>) -> Result<()> {
    let heads = head::all(tx.conn)?;
    let registers: i64 = audit_register::table.count().get_result(tx.conn)?;
    if registers > 0 || heads.iter().any(|head| head.mac.is_some()) {
        // The check value is an old copy: what there is is judged as in any other database.
        tracing::error!("the database pretends to come from before the upgrade; nothing is authenticated");
        return Ok(());
    }
    let mut register = Register::default();
    for mut head in heads {
        for kept in store::checkpoints_after(tx.conn, head.org, 0, i64::MAX)? {
            head.keep(kept.size, &kept.note);
        }
        if head.hashed != head.size || head.tree().is_none() {
            head.broken_at = Some(head.hashed);
            head.broken_why = Some(SIGNED.to_owned());
        }
        register.take(&head);
        head.save(tx)?;
        tracing::warn!(
            organization = %head.org, entries = head.size,
            "the audit log is authenticated under the root secret from now on; this is said once, after the \
             upgrade, and at no later start"
        );
    }
    register.write(tx)?;
    let signers = audit_signers::table.select((audit_signers::org_id, audit_signers::verifier));
    for (org, verifier) in signers.load::<(OrgId, String)>(tx.conn)? {
        signing::seal_signer(tx, org, &verifier)?;
    }
    Ok(())
}

/// Authenticates what was authentic under the secret before. What was not stays so.
fn reseal_all(tx: &mut Tx<'_>, keyring: &Keyring) -> Result<()> {
    let Some(previous) = keyring.previous_log_seal() else { return Ok(()) };
    let before = LogGuard::default();
    before.unlock(previous, None, true);
    // No organisation begins a log meanwhile.
    Register::hold(tx)?;
    let mut orgs: Vec<OrgId> = head::all(tx.conn)?.iter().map(|head| head.org).collect();
    orgs.sort_unstable();
    for org in orgs {
        // Logs grow meanwhile under processes that still have the secret before.
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

/// Hashes the entries that were written before there was a tree, some in each transaction.
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

/// Hashes some entries that are not in the tree yet; `false` when there are none left, or when the
/// log was signed before, so that nothing may be hashed in place of what was signed.
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

fn hash_stored(tx: &mut Tx<'_>, head: &mut Row, edge: &mut Edge) -> Result<()> {
    let start = head.hashed;
    let rows = store::texts(tx.conn, head.org, start.cast_unsigned(), BATCH)?;
    let mut leaves = Vec::with_capacity(rows.len());
    for (row, expected) in rows.iter().zip(start..head.size) {
        if row.index != expected {
            return Err(Error::internal(format!("the audit log has no entry {expected}")));
        }
        let leaf = tree::leaf(row.text.as_bytes());
        let said: serde_json::Value = serde_json::from_str(&row.text).map_err(Error::internal)?;
        let place = audit_entries::org_id.eq(head.org).and(audit_entries::position.eq(expected));
        diesel::update(audit_entries::table.filter(place))
            .set((
                audit_entries::leaf.eq(leaf.as_slice()),
                audit_entries::address.eq(said["address"].as_str()),
            ))
            .execute(tx.conn)?;
        leaves.push(leaf);
    }
    if leaves.is_empty() {
        return Err(Error::internal(format!("the audit log has no entry {start}")));
    }
    log::grow(tx, head, edge, &leaves)
}
