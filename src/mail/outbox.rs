//! The queue of e-mails: their rows, and adding to them. [`super::claim`] takes them out again.

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, UserId};
use crate::mail::Recipient;
use crate::mail::message::Message;
use crate::schema::outbox;
use crate::time::{DAY, Time};

/// Who sends: one process, while it runs.
pub type Worker = [u8; 16];

/// How many mails one statement queues.
const AT_ONCE: usize = 100;
/// How long sent and failed mails can be looked at.
const KEPT: i64 = 30 * DAY;

pub(super) const QUEUED: &str = "queued";
/// It is part of a summary and shares its fate.
pub(super) const COMBINED: &str = "combined";
pub(super) const SENT: &str = "sent";
pub(super) const FAILED: &str = "failed";

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

    /// The names in the database of e-mails that are shown in this state.
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

    /// The state of that name.
    pub fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A mail that is to be queued.
pub struct Draft {
    /// What it will be known by.
    pub id: MailId,
    /// Who gets it.
    pub to: Recipient,
    /// What it says.
    pub message: Message,
}

impl Draft {
    /// A new mail.
    pub fn new(to: Recipient, message: impl Into<Message>, now: Time) -> Draft {
        Draft { id: MailId::new(now), to, message: message.into() }
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

/// A row as it is queued. Nothing is left to defaults, so that many are one statement.
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

/// Queues a mail. It leaves soon after the transaction is committed, and never otherwise.
pub fn queue(tx: &mut Tx<'_>, to: &Recipient, message: &Message, now: Time) -> Result<()> {
    queue_all(tx, &[Draft::new(to.clone(), message.clone(), now)], now)
}

/// The same for several.
pub fn queue_all(tx: &mut Tx<'_>, drafts: &[Draft], now: Time) -> Result<()> {
    for drafts in drafts.chunks(AT_ONCE) {
        let rows = drafts.iter().map(|draft| draft.row(now)).collect::<Result<Vec<_>>>()?;
        each!(tx.conn, |c| diesel::insert_into(outbox::table).values(&rows).execute(c))?;
        tx.queues_mail();
    }
    Ok(())
}

/// When the next mail may be due: one that waits for another attempt, or whose claim ends.
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

/// Forgets mails that were sent or failed long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(outbox::table)
        .filter(outbox::state.ne(QUEUED).and(outbox::created_at.lt(now.plus(-KEPT))))
        .execute(tx.conn)?;
    Ok(())
}
