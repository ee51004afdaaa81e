//! Checkpoints of the audit log by e-mail, to an external address that the organisation chooses: no one who
//! runs the server can rewrite what is in a mailbox elsewhere.
//!
//! Nothing is sent to an address before it is confirmed. When it is replaced or removed, it receives a last
//! checkpoint that says so, so that no one can end this unnoticed.

use diesel::prelude::*;

use crate::audit::checkpoint::Signer;
use crate::audit::event::Event;
use crate::audit::{head, log, signing, store};
use crate::authority::{Acting, RequestSource};
use crate::crypto::Keyring;
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{LinkId, OrgId, readable};
use crate::mail::{AuditCheckpoint, AuditConfirmation, Occasion, Recipient, outbox};
use crate::orgs::store::{Org, find as find_org, lock, members_of, some_members};
use crate::people::links::{self, Link, Purpose};
use crate::people::store as people;
use crate::people::store::{Profile, fold_email};
use crate::role::Act;
use crate::schema::{audit_heads, checkpoint_mail as rows};
use crate::time::{DAY, Time};

/// The minimum time between checkpoints while the log grows.
const GROWN: i64 = DAY;
/// The maximum time between checkpoints, so that silence is noticed.
const SILENT: i64 = 7 * DAY;

/// The signers of checkpoints, and the host that names the log.
#[derive(Clone, Copy)]
pub struct SigningContext<'a> {
    pub host: &'a str,
    pub signers: &'a [Signer],
}

/// The external address for an organisation's checkpoints.
#[derive(Clone, Debug, Default, Queryable)]
pub struct CheckpointMail {
    /// The confirmed address.
    pub address: Option<String>,
    /// When it was confirmed.
    pub since: Option<Time>,
    /// The address that has not been confirmed yet.
    pub asked_address: Option<String>,
    /// Until when it can be confirmed.
    pub asked_until: Option<Time>,
    /// When the last checkpoint was sent.
    pub sent_at: Option<Time>,
    /// The number of entries in the last checkpoint.
    pub sent_size: i64,
}

/// The organisation's choice.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<CheckpointMail> {
    let row = rows::table.find(org).select((
        rows::address,
        rows::since,
        rows::asked_address,
        rows::asked_until,
        rows::sent_at,
        rows::sent_size,
    ));
    Ok(row.first(conn).optional()?.unwrap_or_default())
}

/// Asks an external address to confirm that it receives checkpoints. Until then, they go to the address
/// before.
///
/// Errors: `Invalid` for an invalid address or the confirmed one; `Conflict` if too many addresses were
/// asked lately.
pub fn request(tx: &mut Tx<'_>, acting: &Acting, email: &str) -> Result<()> {
    let asker = people::find(tx.conn, acting.person()?)?.ok_or(Error::SignedOut)?;
    let email = Profile::parse("-", email).map_err(Error::Invalid)?.email;
    let org = find_org(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let known = find(tx.conn, org.id)?.address;
    if known.is_some_and(|known| fold_email(&known) == fold_email(&email)) {
        return Err(Error::invalid("email", "Checkpoints already go to this address."));
    }
    let link =
        links::create(tx, asker.id, Purpose::Checkpoints, &email, acting.now)?.ok_or(Error::Conflict(
            "You asked several addresses in the last hour. Wait for a confirmation, or try again later.",
        ))?;
    let asked =
        (rows::asked_address.eq(&email), rows::asked_link.eq(link.id), rows::asked_until.eq(link.ends_at));
    each!(tx.conn, |c| {
        diesel::insert_into(rows::table)
            .values((rows::org_id.eq(org.id), asked))
            .on_conflict(rows::org_id)
            .do_update()
            .set(asked)
            .execute(c)
    })?;
    log::append(tx, acting, &org.id.to_string(), &Event::CheckpointsRequested)?;
    let content = AuditConfirmation {
        link: link.id,
        org: org.name.clone(),
        asker: asker.name.clone(),
        ends_at: link.ends_at,
    };
    outbox::queue(tx, &reader(&org, &email), &content.into(), acting.now)
}

/// The organisation and the address of a confirmation token, if it is valid.
pub fn open(conn: &mut Conn, keyring: &Keyring, token: &str, now: Time) -> Result<Option<(Org, String)>> {
    match links::open(conn, keyring, Purpose::Checkpoints, token, now)? {
        Some(link) => request_of_link(conn, &link),
        None => Ok(None),
    }
}

/// The request behind a link, unless another address was asked since or the asker lost the right.
fn request_of_link(conn: &mut Conn, link: &Link) -> Result<Option<(Org, String)>> {
    let row = rows::table.filter(rows::asked_link.eq(link.id)).select((rows::org_id, rows::asked_address));
    let Some((org, Some(email))) = row.first::<(OrgId, Option<String>)>(conn).optional()? else {
        return Ok(None);
    };
    let asker = some_members(conn, org, [link.person])?.pop();
    if !asker.is_some_and(|asker| asker.is_active() && asker.role.may(Act::WriteSettings)) {
        return Ok(None);
    }
    Ok(find_org(conn, org)?.map(|org| (org, email)))
}

/// Confirms an address by the token of its e-mail: sends the first checkpoint to it, and a last one to the
/// address before. `None` if the token is not valid.
pub fn confirm(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    signing_context: SigningContext<'_>,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Org>> {
    let Some(link) = links::consume(tx, keyring, Purpose::Checkpoints, token, now)? else { return Ok(None) };
    // Keeps the asker from losing the right before the commit.
    if let Some((org, _)) = request_of_link(tx.conn, &link)? {
        lock(tx, org.id)?;
    }
    let Some((org, email)) = request_of_link(tx.conn, &link)? else { return Ok(None) };
    let before = find(tx.conn, org.id)?.address;
    diesel::update(rows::table.find(org.id))
        .set((rows::address.eq(&email), rows::since.eq(now)))
        .execute(tx.conn)?;
    clear_request(tx, org.id)?;
    let acting = Acting::system(org.id, source.clone(), now);
    log::append(tx, &acting, &org.id.to_string(), &Event::CheckpointsConfirmed)?;
    if let Some(before) = before {
        send(tx, signing_context, &org, &before, Occasion::Replaced, now)?;
    }
    send(tx, signing_context, &org, &email, Occasion::First, now)?;
    Ok(Some(org))
}

/// Ends the e-mails and any pending confirmation; `false` if there was neither.
pub fn end(tx: &mut Tx<'_>, acting: &Acting, signing_context: SigningContext<'_>) -> Result<bool> {
    let org = find_org(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let known = find(tx.conn, org.id)?;
    if known.address.is_none() && known.asked_address.is_none() {
        return Ok(false);
    }
    diesel::update(rows::table.find(org.id))
        .set((rows::address.eq(None::<String>), rows::since.eq(None::<Time>)))
        .execute(tx.conn)?;
    clear_request(tx, org.id)?;
    log::append(tx, acting, &org.id.to_string(), &Event::CheckpointsEnded)?;
    if let Some(address) = known.address {
        send(tx, signing_context, &org, &address, Occasion::Ended, acting.now)?;
    }
    Ok(true)
}

fn clear_request(tx: &mut Tx<'_>, org: OrgId) -> Result<()> {
    diesel::update(rows::table.find(org))
        .set((
            rows::asked_address.eq(None::<String>),
            rows::asked_link.eq(None::<LinkId>),
            rows::asked_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// The organisations whose checkpoint has to be sent now: the log has grown for a day, nothing was sent
/// for a week, or the log was found broken.
pub fn due(conn: &mut Conn, now: Time) -> Result<Vec<OrgId>> {
    let last = rows::sent_at.assume_not_null();
    let grown = audit_heads::size.gt(rows::sent_size).and(last.le(now.plus(-GROWN)));
    // A later time was written by a clock that was ahead, and is ignored.
    let silent = last.le(now.plus(-SILENT)).or(last.gt(now));
    let broken = audit_heads::alarmed_at.is_not_null().and(rows::sent_broken.eq(false));
    let due = rows::table
        .inner_join(audit_heads::table.on(audit_heads::org_id.eq(rows::org_id)))
        .filter(rows::address.is_not_null())
        .filter(grown.or(silent).or(broken));
    Ok(readable(due.select(rows::org_id).load(conn)?))
}

/// Sends the checkpoint of an organisation if it is still due.
pub fn send_due(tx: &mut Tx<'_>, signing_context: SigningContext<'_>, org: OrgId, now: Time) -> Result<()> {
    // Other processes wait here until this one has sent it.
    diesel::update(rows::table.find(org)).set(rows::org_id.eq(org)).execute(tx.conn)?;
    if !due(tx.conn, now)?.contains(&org) {
        return Ok(());
    }
    let Some(org) = find_org(tx.conn, org)? else { return Ok(()) };
    match find(tx.conn, org.id)?.address {
        Some(address) => send(tx, signing_context, &org, &address, Occasion::Regular, now),
        None => Ok(()),
    }
}

/// The organisations whose log is broken and whose admins have not been notified.
pub fn alarms_due(conn: &mut Conn) -> Result<Vec<OrgId>> {
    let due = audit_heads::broken_at.is_not_null().and(audit_heads::alarmed_at.is_null());
    Ok(readable(audit_heads::table.filter(due).select(audit_heads::org_id).load(conn)?))
}

/// Notifies an organisation's admins, once, that its log is broken. [`send_due`] notifies the external
/// address.
pub fn alarm(tx: &mut Tx<'_>, org: OrgId, now: Time) -> Result<()> {
    let mut head = head::lock(tx, org)?;
    let (Some(index), None) = (head.broken_at, head.alarmed_at) else { return Ok(()) };
    if head.fault(tx.logs, None)?.is_some() {
        // The row was changed again; the next fault that is marked will be reported.
        return Ok(());
    }
    let Some(found) = find_org(tx.conn, org)? else { return Ok(()) };
    let content = AuditCheckpoint {
        org: found.slug,
        occasion: Occasion::Alarm,
        size: head.size.cast_unsigned(),
        note: String::new(),
        at: now,
        broken_at: Some(index.cast_unsigned()),
        why: head.broken_why.clone(),
    }
    .into();
    for member in members_of(tx.conn, org)? {
        if member.is_active() && !member.is_service() && member.role.manages_all_keys() {
            outbox::queue(tx, &member.person.recipient(Some(org)), &content, now)?;
        }
    }
    head.alarmed_at = Some(now);
    head.save(tx)
}

fn send(
    tx: &mut Tx<'_>,
    signing_context: SigningContext<'_>,
    org: &Org,
    address: &str,
    occasion: Occasion,
    now: Time,
) -> Result<()> {
    let (note, broken) = match signing::sign(tx, org.id, signing_context.host, signing_context.signers, now) {
        Ok(note) => (note, None),
        // Nothing is signed. The recipient has earlier checkpoints.
        Err(Error::LogBroken { index, why }) => (String::new(), Some((index, why))),
        Err(error) => return Err(error),
    };
    let head = store::head(tx.conn, org.id)?;
    let size = if broken.is_some() { head.entries } else { head.size };
    if broken.is_none() {
        signing::store_checkpoint(tx, org.id, &note, head.size, now)?;
    }
    diesel::update(rows::table.find(org.id))
        .set((
            rows::sent_at.eq(now),
            rows::sent_size.eq(size.cast_signed()),
            rows::sent_broken.eq(broken.is_some()),
        ))
        .execute(tx.conn)?;
    let (broken_at, why) = broken.unzip();
    let content = AuditCheckpoint { org: org.slug.clone(), occasion, size, note, at: now, broken_at, why };
    outbox::queue(tx, &reader(org, address), &content.into(), now)
}

fn reader(org: &Org, address: &str) -> Recipient {
    Recipient { org: Some(org.id), person: None, name: String::new(), address: address.to_owned() }
}
