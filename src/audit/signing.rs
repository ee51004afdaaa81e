//! Signing the current state of a log, storing signed checkpoints, and the verifier keys.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::checkpoint::{Checkpoint, Signer};
use crate::audit::head::{self, HeadRow};
use crate::db::{Conn, LogGuard, Tx, each, each_readable};
use crate::error::Result;
use crate::id::{OrgId, readable};
use crate::schema::{audit_checkpoints, audit_signers, organizations};
use crate::time::Time;

/// Signs a checkpoint of the log's current state. Stores nothing.
///
/// Errors: `LogBroken` for a log that is not what this installation wrote.
pub fn current(
    conn: &mut Conn,
    logs: &LogGuard,
    org: OrgId,
    host: &str,
    signers: &[Signer],
) -> Result<String> {
    let head = head::find_intact(conn, logs, org)?;
    let origin = match head.origin.clone() {
        Some(origin) => origin,
        None => first_name(conn, org, host)?,
    };
    Ok(checkpoint(&head, origin, signers))
}

/// Like [`current`], but stores the name of the log and the signers' verifier keys. The first one names the log
/// after Keydesk's host and the organisation's slug; the name stays from then on.
pub fn sign(tx: &mut Tx<'_>, org: OrgId, host: &str, signers: &[Signer], now: Time) -> Result<String> {
    let mut head = head::find_intact(tx.conn, tx.logs, org)?;
    if head.origin.is_none() {
        let name = first_name(tx.conn, org, host)?;
        head = head::lock_intact(tx, org)?;
        head.origin.get_or_insert(name);
        head.save(tx)?;
    }
    let origin = head.origin.clone().unwrap_or_default();
    let known = authentic_verifiers(tx.conn, tx.logs, org)?;
    for verifier in signers.iter().map(|signer| signer.verifier(&origin).to_string()) {
        if known.iter().any(|(known, _)| *known == verifier) {
            continue;
        }
        let row = (audit_signers::org_id.eq(org), audit_signers::verifier.eq(&verifier));
        each!(tx.conn, |c| {
            diesel::insert_into(audit_signers::table)
                .values((row, audit_signers::since.eq(now)))
                .on_conflict((audit_signers::org_id, audit_signers::verifier))
                .do_update()
                .set(audit_signers::since.eq(now))
                .execute(c)
        })?;
        seal_signer(tx, org, &verifier)?;
    }
    Ok(checkpoint(&head, origin, signers))
}

fn checkpoint(head: &HeadRow, origin: String, signers: &[Signer]) -> String {
    Checkpoint { origin, size: head.hashed.cast_unsigned(), root: head.root() }.sign(signers)
}

fn first_name(conn: &mut Conn, org: OrgId, host: &str) -> Result<String> {
    let slug: String = organizations::table.find(org).select(organizations::slug).first(conn)?;
    Ok(name(host, &slug))
}

/// The default name of an organisation's log.
pub fn name(host: &str, slug: &str) -> String {
    // The name ignores the port.
    let port = |(_, port): &(&str, &str)| port.bytes().all(|byte| byte.is_ascii_digit());
    let host = host.rsplit_once(':').filter(port).map_or(host, |(host, _)| host);
    format!("{host}/{slug}")
}

/// Stores a checkpoint of the log, unless one of that size or a larger one is stored.
pub fn store_checkpoint(tx: &mut Tx<'_>, org: OrgId, note: &str, size: u64, now: Time) -> Result<()> {
    let mut head = head::lock_intact(tx, org)?;
    let size = size.cast_signed();
    if size <= head.kept_size {
        return Ok(());
    }
    let values = (audit_checkpoints::at.eq(now), audit_checkpoints::note.eq(note));
    each!(tx.conn, |c| {
        diesel::insert_into(audit_checkpoints::table)
            .values((audit_checkpoints::org_id.eq(org), audit_checkpoints::size.eq(size), values))
            .on_conflict((audit_checkpoints::org_id, audit_checkpoints::size))
            .do_update()
            .set(values)
            .execute(c)
    })?;
    head.add_checkpoint(size, note);
    head.save(tx)
}

/// The verifier keys of an organisation's checkpoints, now or earlier, newest first, with the time of their first
/// use; `now` for a key whose first signature is not stored yet.
pub fn verifiers(
    conn: &mut Conn,
    logs: &LogGuard,
    org: OrgId,
    host: &str,
    signers: &[Signer],
    now: Time,
) -> Result<Vec<(String, Time)>> {
    let origin = match head::find(conn, org)?.and_then(|head| head.origin) {
        Some(origin) => origin,
        None => first_name(conn, org, host)?,
    };
    let known = authentic_verifiers(conn, logs, org)?;
    let own = signers.iter().map(|signer| (signer.verifier(&origin).to_string(), now));
    let new = own.filter(|(own, _)| known.iter().all(|(known, _)| known != own));
    Ok(new.chain(known.iter().cloned()).collect())
}

/// The authentic stored verifier keys of an organisation's checkpoints, newest first. Keys that someone else
/// wrote into the table are left out.
pub fn authentic_verifiers(conn: &mut Conn, logs: &LogGuard, org: OrgId) -> Result<Vec<(String, Time)>> {
    type Signer = (String, Time, Option<Vec<u8>>);
    let of_org = audit_signers::table.filter(audit_signers::org_id.eq(org));
    let all = of_org.order((audit_signers::since.desc(), audit_signers::verifier)).select((
        audit_signers::verifier,
        audit_signers::since,
        audit_signers::mac,
    ));
    let rows: Vec<Signer> = match all.load(conn) {
        Err(DieselError::DeserializationError(_)) => {
            let places = (0..of_org.count().get_result(conn)?).collect::<Vec<i64>>();
            each_readable(places, |place| Ok(all.offset(place).first(conn)?))?
        }
        rows => rows?,
    };
    let seal = logs.seal()?;
    let is_ours = |(verifier, since, mac): &Signer| {
        let message = signer_message(org, verifier, *since);
        mac.as_ref().is_some_and(|mac| seal.accepts(&message, mac))
    };
    Ok(rows.into_iter().filter(is_ours).map(|(verifier, since, _)| (verifier, since)).collect())
}

/// The authentic verifier keys of all organisations.
pub fn authentic_signers(conn: &mut Conn, logs: &LogGuard) -> Result<Vec<(OrgId, String)>> {
    let mut all = Vec::new();
    let orgs = audit_signers::table.select(audit_signers::org_id).distinct();
    for org in readable::<OrgId>(orgs.load(conn)?) {
        let verifiers = authentic_verifiers(conn, logs, org)?.into_iter();
        all.extend(verifiers.map(|(verifier, _)| (org, verifier)));
    }
    Ok(all)
}

/// Authenticates the row of a verifier key.
pub fn seal_signer(tx: &mut Tx<'_>, org: OrgId, verifier: &str) -> Result<()> {
    let row = audit_signers::table.find((org, verifier));
    let since: Time = row.select(audit_signers::since).first(tx.conn)?;
    let mac = tx.logs.seal()?.code(&signer_message(org, verifier, since));
    diesel::update(row).set(audit_signers::mac.eq(mac.as_slice())).execute(tx.conn)?;
    Ok(())
}

fn signer_message(org: OrgId, verifier: &str, since: Time) -> Vec<u8> {
    let since = since.micros().to_be_bytes();
    [b"keydesk audit signer 1\0".as_slice(), org.bytes(), &since, verifier.as_bytes()].concat()
}
