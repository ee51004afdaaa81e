//! Claims on queued e-mails. A row is claimed with a lease, sent and marked; when a process dies, its lease
//! expires and another one claims the row.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{MailId, UserId, readable};
use crate::mail::combine;
use crate::mail::message::Message;
use crate::mail::outbox::{COMBINED, FAILED, QUEUED, SENT, Worker};
use crate::mail::sender::Delay;
use crate::schema::{organizations, outbox, people};
use crate::time::{DAY, MINUTE, Time};

/// How long a claim lasts unless it is renewed, in seconds.
pub const LEASE: i64 = 30;
const FIRST_PAUSE: i64 = 30;
const LONGEST_PAUSE: i64 = 15 * MINUTE;
/// How long sending is retried.
const PATIENCE: i64 = 4 * DAY;

/// An e-mail that this process may send.
#[derive(Debug)]
pub struct ClaimedMail {
    pub id: MailId,
    pub message: Message,
    /// The recipient's name.
    pub name: String,
    pub address: String,
    /// `None` for a recipient without an account.
    pub person: Option<UserId>,
    /// The recipient's time zone, if known.
    pub zone: Option<String>,
    /// The name of the organisation that it is about.
    pub org: Option<String>,
    /// When it was queued.
    pub created_at: Time,
    /// The number of attempts so far.
    pub attempts: i64,
}

/// Claims about `most` due e-mails that no other process holds, after combining or delaying those that would
/// flood a mailbox. E-mails that this process already holds are claimed again: it sends one batch at a time, so
/// it must have lost them. Unreadable e-mails are marked as failed.
pub fn claim(tx: &mut Tx<'_>, worker: &Worker, most: i64, now: Time) -> Result<Vec<ClaimedMail>> {
    loop {
        let due = due(tx, worker, most, now)?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let leaving = combine::limit(tx, worker, due, now)?;
        if !leaving.is_empty() {
            return lease(tx, worker, leaving, now);
        }
    }
}

/// The first due e-mails that no other process holds. Those for which someone is waiting, such as a password
/// reset link, come before notices about keys, of which there may be very many.
fn due(tx: &mut Tx<'_>, worker: &Worker, most: i64, now: Time) -> Result<Vec<MailId>> {
    let mut due = due_of(tx, false, worker, most, now)?;
    let left = most - i64::try_from(due.len()).unwrap_or(most);
    if left > 0 {
        due.extend(due_of(tx, true, worker, left, now)?);
    }
    Ok(due)
}

/// The first due e-mails about keys, or about anything else.
fn due_of(tx: &mut Tx<'_>, about_keys: bool, worker: &Worker, most: i64, now: Time) -> Result<Vec<MailId>> {
    // No delay is longer than this, except by a clock that was ahead.
    let latest = now.plus(LONGEST_PAUSE + MINUTE);
    let due = outbox::table
        .filter(outbox::state.eq(QUEUED).and(outbox::due_at.le(now).or(outbox::due_at.gt(latest))))
        .filter(outbox::key_id.is_not_null().or(outbox::event.eq("digest")).eq(about_keys))
        .filter(
            outbox::lease_until
                .is_null()
                .or(outbox::lease_until.le(now))
                .or(outbox::claimed_by.eq(worker.as_slice())),
        )
        .order((outbox::due_at, outbox::id))
        .limit(most)
        .select(outbox::id);
    let ids: Vec<Vec<u8>> = match tx.conn {
        Conn::Postgres(conn) => due.for_update().skip_locked().load(conn)?,
        // SQLite's transaction has locked everything already.
        Conn::Sqlite(conn) => due.load(conn)?,
    };
    let (ids, foreign): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| id.len() == 16);
    if !foreign.is_empty() {
        // Keydesk did not queue them, and they must not block all others.
        let rows = outbox::table.filter(outbox::id.eq_any(foreign));
        diesel::update(rows).set(outbox::state.eq(FAILED)).execute(tx.conn)?;
    }
    Ok(readable(ids))
}

/// Claims these e-mails.
fn lease(tx: &mut Tx<'_>, worker: &Worker, ids: Vec<MailId>, now: Time) -> Result<Vec<ClaimedMail>> {
    diesel::update(outbox::table.filter(outbox::id.eq_any(&ids)))
        .set((outbox::claimed_by.eq(worker.as_slice()), outbox::lease_until.eq(now.plus(LEASE))))
        .execute(tx.conn)?;
    let rows = match load(tx.conn, &ids) {
        // Reads one row at a time to find the unreadable ones.
        Err(DieselError::DeserializationError(_)) => {
            let mut rows = Vec::new();
            for id in ids {
                match load(tx.conn, &[id]) {
                    Err(DieselError::DeserializationError(_)) => {
                        mark_failed(tx, worker, id, "The e-mail or its recipient can't be read.")?;
                    }
                    row => rows.extend(row?),
                }
            }
            rows
        }
        rows => rows?,
    };
    let mut claimed = Vec::new();
    for (id, message, name, address, person, created_at, attempts, org, zone) in rows {
        match serde_json::from_str(&message) {
            Ok(message) => {
                claimed.push(ClaimedMail {
                    id,
                    message,
                    name,
                    address,
                    person,
                    zone,
                    org,
                    created_at,
                    attempts,
                });
            }
            // An e-mail queued by a later version must not block all others.
            Err(error) => {
                mark_failed(tx, worker, id, &format!("This version can't read the e-mail: {error}"))?
            }
        }
    }
    Ok(claimed)
}

type Stored = (MailId, String, String, String, Option<UserId>, Time, i64, Option<String>, Option<String>);

fn load(conn: &mut Conn, ids: &[MailId]) -> QueryResult<Vec<Stored>> {
    outbox::table
        .left_join(organizations::table.on(outbox::org_id.eq(organizations::id.nullable())))
        .left_join(people::table.on(outbox::person_id.eq(people::id.nullable())))
        .filter(outbox::id.eq_any(ids))
        .order((outbox::due_at, outbox::id))
        .select((
            outbox::id,
            outbox::message,
            outbox::name,
            outbox::address,
            outbox::person_id,
            outbox::created_at,
            outbox::attempts,
            organizations::name.nullable(),
            people::zone.nullable(),
        ))
        .load(conn)
}

/// Renews this process's claims.
pub fn renew(tx: &mut Tx<'_>, worker: &Worker, now: Time) -> Result<()> {
    diesel::update(outbox::table)
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set(outbox::lease_until.eq(now.plus(LEASE)))
        .execute(tx.conn)?;
    Ok(())
}

/// Releases this process's claims on unsent e-mails.
pub fn release(tx: &mut Tx<'_>, worker: &Worker) -> Result<()> {
    diesel::update(outbox::table)
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((outbox::claimed_by.eq(None::<Vec<u8>>), outbox::lease_until.eq(None::<Time>)))
        .execute(tx.conn)?;
    Ok(())
}

/// Marks an e-mail as accepted by the server, whichever process holds it now.
pub fn mark_sent(tx: &mut Tx<'_>, id: MailId, now: Time) -> Result<()> {
    diesel::update(outbox::table.find(id))
        .set((
            outbox::state.eq(SENT),
            outbox::sent_at.eq(now),
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::last_error.eq(None::<String>),
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    diesel::update(outbox::table)
        .filter(outbox::combined_in.eq(id).and(outbox::state.eq(COMBINED)))
        .set((outbox::state.eq(SENT), outbox::sent_at.eq(now)))
        .execute(tx.conn)?;
    Ok(())
}

/// Marks an e-mail as failed, with the server's reason.
pub fn mark_failed(tx: &mut Tx<'_>, worker: &Worker, id: MailId, words: &str) -> Result<()> {
    let failed = diesel::update(outbox::table.find(id))
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((
            outbox::state.eq(FAILED),
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::last_error.eq(words),
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    if failed > 0 {
        diesel::update(outbox::table)
            .filter(outbox::combined_in.eq(id).and(outbox::state.eq(COMBINED)))
            .set((outbox::state.eq(FAILED), outbox::last_error.eq(words)))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// Schedules a retry after a growing pause, or gives up after four days.
pub fn mark_delayed(
    tx: &mut Tx<'_>,
    worker: &Worker,
    mail: &ClaimedMail,
    delay: &Delay,
    now: Time,
) -> Result<()> {
    if now.since(mail.created_at) >= PATIENCE {
        return mark_failed(tx, worker, mail.id, &format!("Given up after 4 days: {}", delay.reason));
    }
    diesel::update(outbox::table.find(mail.id))
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::due_at.eq(now.plus(pause(mail.attempts))),
            outbox::last_error.eq(&delay.reason),
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    if delay.unanswered {
        diesel::update(outbox::table.find(mail.id)).set(outbox::unanswered.eq(true)).execute(tx.conn)?;
    }
    Ok(())
}

fn pause(attempts: i64) -> i64 {
    let doubled = u32::try_from(attempts).ok().and_then(|attempts| FIRST_PAUSE.checked_shl(attempts.min(20)));
    doubled.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_quarter_of_an_hour() {
        let pauses: Vec<i64> = [0, 1, 2, 4, 5, 63, 64, i64::MAX].into_iter().map(pause).collect();
        assert_eq!(pauses, [30, 60, 120, 480, 900, 900, 900, 900]);
    }
}
