//! Checkpoints of the audit log by mail, to an address outside that the organisation chooses: what
//! lies in a mailbox elsewhere, nobody who runs the server can rewrite.
//!
//! Nothing goes to an address before its reader has confirmed it. When it is replaced or given up,
//! it is told with a last checkpoint, so that nobody ends this unseen.

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

/// How often a growing log is told of at most.
const GROWN: i64 = DAY;
/// How often a checkpoint comes at least, so that silence is noticed.
const SILENT: i64 = 7 * DAY;

/// Who signs checkpoints, and where.
#[derive(Clone, Copy)]
pub struct Hand<'a> {
    /// The host under which Keydesk is reached.
    pub host: &'a str,
    /// The signers of the installation.
    pub signers: &'a [Signer],
}

/// Where an organisation's checkpoints go.
#[derive(Clone, Debug, Default, Queryable)]
pub struct Outside {
    /// The address that was confirmed.
    pub address: Option<String>,
    /// Since when.
    pub since: Option<Time>,
    /// The address whose reader was asked.
    pub asked_address: Option<String>,
    /// Until when they may confirm it.
    pub asked_until: Option<Time>,
    /// When the last checkpoint was mailed.
    pub sent_at: Option<Time>,
    /// How many entries it was about.
    pub sent_size: i64,
}

/// What is chosen in an organisation.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<Outside> {
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

/// Asks the reader of an address whether checkpoints may go there. Until they agree, they go where
/// they went before.
///
/// Errors: `Invalid` for what is no address, or the one that is confirmed; `Conflict` when too many
/// were asked of late.
pub fn ask(tx: &mut Tx<'_>, acting: &Acting, email: &str) -> Result<()> {
    let asker = people::find(tx.conn, acting.person()?)?.ok_or(Error::SignedOut)?;
    let email = Profile::parse("-", email).map_err(Error::Invalid)?.email;
    let org = find_org(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let known = find(tx.conn, org.id)?.address;
    if known.is_some_and(|known| fold_email(&known) == fold_email(&email)) {
        return Err(Error::invalid("email", "Checkpoints go to this address already."));
    }
    let link =
        links::make(tx, asker.id, Purpose::Checkpoints, &email, acting.now)?.ok_or(Error::Conflict(
            "You asked several addresses in the last hour. Wait for an answer, or try again later.",
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
    log::append(tx, acting, &org.id.to_string(), &Event::CheckpointsAsked)?;
    let letter = AuditConfirmation {
        link: link.id,
        org: org.name.clone(),
        asker: asker.name.clone(),
        ends_at: link.ends_at,
    };
    outbox::queue(tx, &reader(&org, &email), &letter.into(), acting.now)
}

/// The organisation that asks and the address that is asked, if the token counts.
pub fn open(conn: &mut Conn, keyring: &Keyring, token: &str, now: Time) -> Result<Option<(Org, String)>> {
    match links::open(conn, keyring, Purpose::Checkpoints, token, now)? {
        Some(link) => asking(conn, &link),
        None => Ok(None),
    }
}

/// Who asks by this link, unless another address was asked meanwhile or the asker may no longer ask.
fn asking(conn: &mut Conn, link: &Link) -> Result<Option<(Org, String)>> {
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

/// Confirms an address by the token of its mail: the first checkpoint goes there, and a last one
/// to the address before. `None` when the token does not count.
pub fn confirm(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    hand: Hand<'_>,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Org>> {
    let Some(link) = links::take(tx, keyring, Purpose::Checkpoints, token, now)? else { return Ok(None) };
    // Nobody loses the right to ask before this is committed.
    if let Some((org, _)) = asking(tx.conn, &link)? {
        lock(tx, org.id)?;
    }
    let Some((org, email)) = asking(tx.conn, &link)? else { return Ok(None) };
    let before = find(tx.conn, org.id)?.address;
    diesel::update(rows::table.find(org.id))
        .set((rows::address.eq(&email), rows::since.eq(now)))
        .execute(tx.conn)?;
    forget_asked(tx, org.id)?;
    let acting = Acting::system(org.id, source.clone(), now);
    log::append(tx, &acting, &org.id.to_string(), &Event::CheckpointsConfirmed)?;
    if let Some(before) = before {
        send(tx, hand, &org, &before, Occasion::Replaced, now)?;
    }
    send(tx, hand, &org, &email, Occasion::First, now)?;
    Ok(Some(org))
}

/// Ends the mails, and the wait for an answer. `false`: there was nothing to end.
pub fn end(tx: &mut Tx<'_>, acting: &Acting, hand: Hand<'_>) -> Result<bool> {
    let org = find_org(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let known = find(tx.conn, org.id)?;
    if known.address.is_none() && known.asked_address.is_none() {
        return Ok(false);
    }
    diesel::update(rows::table.find(org.id))
        .set((rows::address.eq(None::<String>), rows::since.eq(None::<Time>)))
        .execute(tx.conn)?;
    forget_asked(tx, org.id)?;
    log::append(tx, acting, &org.id.to_string(), &Event::CheckpointsEnded)?;
    if let Some(address) = known.address {
        send(tx, hand, &org, &address, Occasion::Ended, acting.now)?;
    }
    Ok(true)
}

fn forget_asked(tx: &mut Tx<'_>, org: OrgId) -> Result<()> {
    diesel::update(rows::table.find(org))
        .set((
            rows::asked_address.eq(None::<String>),
            rows::asked_link.eq(None::<LinkId>),
            rows::asked_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// The organisations whose checkpoint is to be mailed now: the log has grown for a day, all was
/// silent for a week, or something was found to be wrong with it, which does not wait.
pub fn due(conn: &mut Conn, now: Time) -> Result<Vec<OrgId>> {
    let last = rows::sent_at.assume_not_null();
    let grown = audit_heads::size.gt(rows::sent_size).and(last.le(now.plus(-GROWN)));
    // A time in the future was noted by a clock that was ahead, and says nothing.
    let silent = last.le(now.plus(-SILENT)).or(last.gt(now));
    let broken = audit_heads::alarmed_at.is_not_null().and(rows::sent_broken.eq(false));
    let due = rows::table
        .inner_join(audit_heads::table.on(audit_heads::org_id.eq(rows::org_id)))
        .filter(rows::address.is_not_null())
        .filter(grown.or(silent).or(broken));
    Ok(readable(due.select(rows::org_id).load(conn)?))
}

/// Mails the checkpoint of an organisation if it is still due.
pub fn send_due(tx: &mut Tx<'_>, hand: Hand<'_>, org: OrgId, now: Time) -> Result<()> {
    // Another process that ticks waits here until this one has sent it.
    diesel::update(rows::table.find(org)).set(rows::org_id.eq(org)).execute(tx.conn)?;
    if !due(tx.conn, now)?.contains(&org) {
        return Ok(());
    }
    let Some(org) = find_org(tx.conn, org)? else { return Ok(()) };
    match find(tx.conn, org.id)?.address {
        Some(address) => send(tx, hand, &org, &address, Occasion::Regular, now),
        None => Ok(()),
    }
}

/// The organisations whose log is broken without their admins being notified.
pub fn alarms_due(conn: &mut Conn) -> Result<Vec<OrgId>> {
    let due = audit_heads::broken_at.is_not_null().and(audit_heads::alarmed_at.is_null());
    Ok(readable(audit_heads::table.filter(due).select(audit_heads::org_id).load(conn)?))
}

/// Notifies the admins of an organisation, once, that its log is broken. The outside address is
/// notified by [`send_due`].
pub fn alarm(tx: &mut Tx<'_>, org: OrgId, now: Time) -> Result<()> {
    let mut head = head::lock(tx, org)?;
    let (Some(index), None) = (head.broken_at, head.alarmed_at) else { return Ok(()) };
    if head.fault(tx.logs, None)?.is_some() {
        // It was changed once more; what is marked next is told.
        return Ok(());
    }
    let Some(found) = find_org(tx.conn, org)? else { return Ok(()) };
    let letter = AuditCheckpoint {
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
            outbox::queue(tx, &member.person.recipient(Some(org)), &letter, now)?;
        }
    }
    head.alarmed_at = Some(now);
    head.save(tx)
}

fn send(
    tx: &mut Tx<'_>,
    hand: Hand<'_>,
    org: &Org,
    address: &str,
    occasion: Occasion,
    now: Time,
) -> Result<()> {
    let (note, broken) = match signing::sign(tx, org.id, hand.host, hand.signers, now) {
        Ok(note) => (note, None),
        // Nothing is signed. The reader has the checkpoints of before.
        Err(Error::LogBroken { index, why }) => (String::new(), Some((index, why))),
        Err(error) => return Err(error),
    };
    let head = store::head(tx.conn, org.id)?;
    let size = if broken.is_some() { head.entries } else { head.size };
    if broken.is_none() {
        signing::keep_checkpoint(tx, org.id, &note, head.size, now)?;
    }
    diesel::update(rows::table.find(org.id))
        .set((
            rows::sent_at.eq(now),
            rows::sent_size.eq(size.cast_signed()),
            rows::sent_broken.eq(broken.is_some()),
        ))
        .execute(tx.conn)?;
    let (broken_at, why) = broken.unzip();
    let letter = AuditCheckpoint { org: org.slug.clone(), occasion, size, note, at: now, broken_at, why };
    outbox::queue(tx, &reader(org, address), &letter.into(), now)
}

fn reader(org: &Org, address: &str) -> Recipient {
    Recipient { org: Some(org.id), person: None, name: String::new(), address: address.to_owned() }
}
