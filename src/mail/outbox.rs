//! The outbox: its rows, and adding to them. [`super::claim`] takes them out again.

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, UserId};
use crate::mail::Recipient;
use crate::mail::message::Message;
use crate::schema::outbox;
use crate::time::{DAY, Time};

/// Identifies a sending process while it runs.
pub type Worker = [u8; 16];

/// How many e-mails one statement queues.
const AT_ONCE: usize = 100;
/// How long sent and failed e-mails are kept.
const RETENTION: i64 = 30 * DAY;

pub(super) const QUEUED: &str = "queued";
/// The e-mail is part of a summary and shares its state.
pub(super) const COMBINED: &str = "combined";
pub(super) const SENT: &str = "sent";
pub(super) const FAILED: &str = "failed";

/// The state of an e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting for its first or next attempt.
    Queued,
    /// Accepted by the server.
    Sent,
    /// Given up; not retried automatically.
    Failed,
}

impl State {
    /// All states, in display order.
    pub const ALL: [State; 3] = [State::Queued, State::Sent, State::Failed];

    /// The stored states that are shown as this one.
    pub fn stored(self) -> &'static [&'static str] {
        match self {
            State::Queued => &[QUEUED, COMBINED],
            State::Sent => &[SENT],
            State::Failed => &[FAILED],
        }
    }

    /// The name in the database and in queries.
    pub fn name(self) -> &'static str {
        match self {
            State::Queued => QUEUED,
            State::Sent => SENT,
            State::Failed => FAILED,
        }
    }

    /// The state of that name, if there is one.
    pub fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// An e-mail to queue.
pub struct NewMail {
    pub id: MailId,
    pub to: Recipient,
    pub message: Message,
}

impl NewMail {
    pub fn new(to: Recipient, message: impl Into<Message>, now: Time) -> NewMail {
        NewMail { id: MailId::new(now), to, message: message.into() }
    }

    fn row(&self, now: Time) -> Result<Row<'_>> {
        Ok(Row {
            id: self.id,
            org_id: self.to.org,
            person_id: self.to.person,
            name: &self.to.name,
            address: &self.to.address,
            event: self.message.event(),
            key_id: self.message.key(),
            message: serde_json::to_string(&self.message).map_err(Error::internal)?,
            state: QUEUED,
            attempts: 0,
            due_at: now,
            created_at: now,
        })
    }
}

/// A new row. Sets every column, so that one statement can insert many.
#[derive(Insertable)]
#[diesel(table_name = outbox, treat_none_as_default_value = false)]
struct Row<'a> {
    id: MailId,
    org_id: Option<OrgId>,
    person_id: Option<UserId>,
    name: &'a str,
    address: &'a str,
    event: &'static str,
    key_id: Option<KeyId>,
    message: String,
    state: &'static str,
    attempts: i64,
    due_at: Time,
    created_at: Time,
}

/// Queues an e-mail. It is sent soon after the commit, and only then.
pub fn queue(tx: &mut Tx<'_>, to: &Recipient, message: &Message, now: Time) -> Result<()> {
    queue_all(tx, &[NewMail::new(to.clone(), message.clone(), now)], now)
}

/// Queues several e-mails.
pub fn queue_all(tx: &mut Tx<'_>, drafts: &[NewMail], now: Time) -> Result<()> {
    for drafts in drafts.chunks(AT_ONCE) {
        let rows = drafts.iter().map(|draft| draft.row(now)).collect::<Result<Vec<_>>>()?;
        each!(tx.conn, |c| diesel::insert_into(outbox::table).values(&rows).execute(c))?;
        tx.queues_mail();
    }
    Ok(())
}

/// When the next e-mail may become due: a retry, or an expired claim.
pub fn next_at(conn: &mut Conn) -> Result<Option<Time>> {
    let queued = outbox::table.filter(outbox::state.eq(QUEUED));
    let waiting: Option<Time> = queued
        .filter(outbox::lease_until.is_null())
        .order(outbox::due_at)
        .select(outbox::due_at)
        .first(conn)
        .optional()?;
    let claimed: Option<Option<Time>> = queued
        .filter(outbox::lease_until.is_not_null())
        .order(outbox::lease_until)
        .select(outbox::lease_until)
        .first(conn)
        .optional()?;
    Ok([waiting, claimed.flatten()].into_iter().flatten().min())
}

/// Deletes e-mails that were sent or failed more than 30 days ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(outbox::table)
        .filter(outbox::state.ne(QUEUED).and(outbox::created_at.lt(now.plus(-RETENTION))))
        .execute(tx.conn)?;
    Ok(())
}
