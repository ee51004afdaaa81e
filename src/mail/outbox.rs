//! The queue of mails. A row is claimed for a while, sent, marked; who claimed it and fell silent
//! loses it to another.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, UserId};
use crate::mail::Recipient;
use crate::mail::message::Message;
use crate::schema::{organizations, outbox, people};
use crate::time::{DAY, MINUTE, Time};

/// Who sends: one process, while it runs.
pub type Worker = [u8; 16];

/// How long a claim holds unless it is renewed.
pub const LEASE: i64 = 30;
const FIRST_PAUSE: i64 = 30;
const LONGEST_PAUSE: i64 = 15 * MINUTE;
/// How long a mail is tried.
const PATIENCE: i64 = 4 * DAY;
/// How long sent and failed mails can be looked at.
const KEPT: i64 = 30 * DAY;

const QUEUED: &str = "queued";
const SENT: &str = "sent";
const FAILED: &str = "failed";

/// Where a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for its first or its next attempt.
    Queued,
    /// The server has taken it.
    Sent,
    /// It will not be tried again by itself.
    Failed,
}

impl State {
    /// All of them, in the order in which they are shown.
    pub const ALL: [State; 3] = [State::Queued, State::Sent, State::Failed];

    /// The name in the database and in queries.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => QUEUED,
            State::Sent => SENT,
            State::Failed => FAILED,
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A mail that this process may send.
#[derive(Debug)]
pub struct Claimed {
    /// Which.
    pub id: MailId,
    /// What it is about.
    pub message: Message,
    /// The name of its reader.
    pub name: String,
    /// Where it goes.
    pub address: String,
    /// Who it is, unless they are yet to become known.
    pub person: Option<UserId>,
    /// The reader's zone, if they have one.
    pub zone: Option<String>,
    /// The name of the organisation that it is about.
    pub org: Option<String>,
    /// When it was queued.
    pub created_at: Time,
    /// How often it was tried before.
    pub attempts: i64,
}

/// Queues a mail. It leaves soon after the transaction is committed, and never otherwise.
pub fn queue(tx: &mut Tx<'_>, to: &Recipient, message: &Message, now: Time) -> Result<()> {
    add(tx, to, message, now).map(|_| ())
}

/// The same, for whoever wants to know what becomes of it.
pub fn add(tx: &mut Tx<'_>, to: &Recipient, message: &Message, now: Time) -> Result<MailId> {
    let id = MailId::new(now);
    diesel::insert_into(outbox::table)
        .values((
            outbox::id.eq(id),
            outbox::org_id.eq(to.org),
            outbox::person_id.eq(to.person),
            outbox::name.eq(&to.name),
            outbox::address.eq(&to.address),
            outbox::event.eq(message.event()),
            outbox::key_id.eq(message.key()),
            outbox::message.eq(serde_json::to_string(message).map_err(Error::internal)?),
            outbox::state.eq(QUEUED),
            outbox::attempts.eq(0_i64),
            outbox::due_at.eq(now),
            outbox::created_at.eq(now),
        ))
        .execute(tx.conn)?;
    tx.queues_mail();
    Ok(id)
}

/// Claims up to `most` mails that are due and that nobody holds. Those that can't be read have failed.
pub fn claim(tx: &mut Tx<'_>, worker: &Worker, most: i64, now: Time) -> Result<Vec<Claimed>> {
    let due = outbox::table
        .filter(outbox::state.eq(QUEUED).and(outbox::due_at.le(now)))
        .filter(outbox::lease_until.is_null().or(outbox::lease_until.le(now)))
        .order((outbox::due_at, outbox::id))
        .limit(most)
        .select(outbox::id);
    let ids: Vec<MailId> = match tx.conn {
        Conn::Postgres(conn) => due.for_update().skip_locked().load(conn)?,
        // Its transaction has locked everything already.
        Conn::Sqlite(conn) => due.load(conn)?,
    };
    diesel::update(outbox::table.filter(outbox::id.eq_any(&ids)))
        .set((outbox::claimed_by.eq(worker.as_slice()), outbox::lease_until.eq(now.plus(LEASE))))
        .execute(tx.conn)?;
    type Row = (MailId, String, String, String, Option<UserId>, Time, i64, Option<String>, Option<String>);
    let rows: Vec<Row> = outbox::table
        .left_join(organizations::table.on(outbox::org_id.eq(organizations::id.nullable())))
        .left_join(people::table.on(outbox::person_id.eq(people::id.nullable())))
        .filter(outbox::id.eq_any(&ids))
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
        .load(tx.conn)?;
    let mut claimed = Vec::new();
    for (id, message, name, address, person, created_at, attempts, org, zone) in rows {
        match serde_json::from_str(&message) {
            Ok(message) => {
                claimed.push(Claimed { id, message, name, address, person, zone, org, created_at, attempts });
            }
            // One that a later version has queued must not hold up all others.
            Err(error) => mark_failed(tx, worker, id, &format!("This version can't read the mail: {error}"))?,
        }
    }
    Ok(claimed)
}

/// Keeps what this process has claimed.
pub fn renew(tx: &mut Tx<'_>, worker: &Worker, now: Time) -> Result<()> {
    diesel::update(outbox::table)
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set(outbox::lease_until.eq(now.plus(LEASE)))
        .execute(tx.conn)?;
    Ok(())
}

/// Gives back what this process has claimed and not sent.
pub fn release(tx: &mut Tx<'_>, worker: &Worker) -> Result<()> {
    diesel::update(outbox::table)
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((outbox::claimed_by.eq(None::<Vec<u8>>), outbox::lease_until.eq(None::<Time>)))
        .execute(tx.conn)?;
    Ok(())
}

/// The server has taken it, whoever holds it now.
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
    Ok(())
}

/// The server will never take it, in these words.
pub fn mark_failed(tx: &mut Tx<'_>, worker: &Worker, id: MailId, words: &str) -> Result<()> {
    diesel::update(outbox::table.find(id))
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((
            outbox::state.eq(FAILED),
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::last_error.eq(words),
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// It did not leave this time, for the reason in these words: it is tried again after a pause that
/// grows, and given up after four days.
pub fn mark_delayed(tx: &mut Tx<'_>, worker: &Worker, mail: &Claimed, words: &str, now: Time) -> Result<()> {
    if now.since(mail.created_at) >= PATIENCE {
        return mark_failed(tx, worker, mail.id, &format!("Given up after 4 days: {words}"));
    }
    diesel::update(outbox::table.find(mail.id))
        .filter(outbox::state.eq(QUEUED).and(outbox::claimed_by.eq(worker.as_slice())))
        .set((
            outbox::attempts.eq(outbox::attempts + 1),
            outbox::due_at.eq(now.plus(pause(mail.attempts))),
            outbox::last_error.eq(words),
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

fn pause(attempts: i64) -> i64 {
    let doubled = u32::try_from(attempts).ok().and_then(|attempts| FIRST_PAUSE.checked_shl(attempts.min(20)));
    doubled.unwrap_or(LONGEST_PAUSE).min(LONGEST_PAUSE)
}

/// A mail, as admins see it.
#[derive(Clone, Debug, Queryable)]
pub struct Entry {
    /// Which.
    pub id: MailId,
    /// The name told in `X-Keydesk-Event`.
    pub event: String,
    /// The key that it is about.
    pub key: Option<KeyId>,
    /// The name of its reader.
    pub name: String,
    /// Where it goes.
    pub address: String,
    /// [`State`] by its name.
    pub state: String,
    /// How often it was tried.
    pub attempts: i64,
    /// When it is tried next, while it is queued.
    pub due_at: Time,
    /// Why it has not left, in the server's words.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created_at: Time,
    /// When the server took it.
    pub sent_at: Option<Time>,
}

/// The mails of an organisation in a state, newest first.
pub fn list(conn: &mut Conn, org: OrgId, state: State, most: i64) -> Result<Vec<Entry>> {
    Ok(outbox::table
        .filter(outbox::org_id.eq(org).and(outbox::state.eq(state.name())))
        .order((outbox::created_at.desc(), outbox::id.desc()))
        .limit(most)
        .select((
            outbox::id,
            outbox::event,
            outbox::key_id,
            outbox::name,
            outbox::address,
            outbox::state,
            outbox::attempts,
            outbox::due_at,
            outbox::last_error,
            outbox::created_at,
            outbox::sent_at,
        ))
        .load(conn)?)
}

/// How many mails of an organisation are in a state.
pub fn count(conn: &mut Conn, org: OrgId, state: State) -> Result<i64> {
    Ok(outbox::table
        .filter(outbox::org_id.eq(org).and(outbox::state.eq(state.name())))
        .count()
        .get_result(conn)?)
}

/// Queues a mail once more, as it was: the same words under the same `Message-ID`.
///
/// Errors: `NotFound`.
pub fn send_again(tx: &mut Tx<'_>, org: OrgId, id: MailId, now: Time) -> Result<()> {
    let changed = diesel::update(outbox::table.find(id))
        .filter(outbox::org_id.eq(org))
        .set((
            outbox::state.eq(QUEUED),
            outbox::due_at.eq(now),
            outbox::last_error.eq(None::<String>),
            // Whoever holds it may be gone; a second copy has the same name.
            outbox::claimed_by.eq(None::<Vec<u8>>),
            outbox::lease_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    if changed == 0 {
        return Err(Error::NotFound);
    }
    tx.queues_mail();
    Ok(())
}

/// Forgets mails that were sent or failed long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(outbox::table)
        .filter(outbox::state.ne(QUEUED).and(outbox::created_at.lt(now.plus(-KEPT))))
        .execute(tx.conn)?;
    Ok(())
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
