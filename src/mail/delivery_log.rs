//! The e-mail log: what is queued, sent and failed, as admins see it.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId};
use crate::mail::outbox::State;
use crate::schema::outbox;
use crate::time::{MINUTE, Time};

/// The event of invitations, which are sent again on the members page.
pub const INVITATION: &str = "invitation";
/// How often an e-mail can be sent in all.
const MOST: i64 = 10;

/// An e-mail in the log.
#[derive(Clone, Debug, Queryable)]
pub struct LoggedMail {
    pub id: MailId,
    /// The name in `X-Keydesk-Event`.
    pub event: String,
    /// The key that it is about.
    pub key: Option<KeyId>,
    /// The recipient's name.
    pub name: String,
    pub address: String,
    /// The name of its [`State`].
    pub state: String,
    /// The number of attempts so far.
    pub attempts: i64,
    /// When it is retried, while it is queued.
    pub due_at: Time,
    /// The server's reason for the last failure.
    pub last_error: Option<String>,
    /// When it was queued.
    pub created_at: Time,
    pub sent_at: Option<Time>,
    /// Whether it is part of a summary.
    pub is_combined: bool,
}

/// An organisation's e-mails in a state, newest first.
pub fn list(conn: &mut Conn, org: OrgId, state: State, most: i64) -> Result<Vec<LoggedMail>> {
    Ok(outbox::table
        .filter(outbox::org_id.eq(org).and(outbox::state.eq_any(state.stored())))
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
            outbox::combined_in.is_not_null(),
        ))
        .load(conn)?)
}

/// The number of an organisation's e-mails in a state.
pub fn count(conn: &mut Conn, org: OrgId, state: State) -> Result<i64> {
    Ok(outbox::table
        .filter(outbox::org_id.eq(org).and(outbox::state.eq_any(state.stored())))
        .count()
        .get_result(conn)?)
}

/// Queues an e-mail again, unchanged and with the same `Message-ID`. A sent one can be sent at most ten times, a
/// minute apart. Invitations have their own action, which checks the right to invite.
///
/// Errors: `NotFound`, `Conflict`.
pub fn send_again(tx: &mut Tx<'_>, org: OrgId, id: MailId, now: Time) -> Result<()> {
    let own = outbox::table.filter(outbox::id.eq(id).and(outbox::org_id.eq(org)));
    let found = own.select((outbox::event, outbox::sent_at, outbox::attempts)).first(tx.conn).optional()?;
    let (event, sent_at, attempts): (String, Option<Time>, i64) = found.ok_or(Error::NotFound)?;
    if event == INVITATION {
        return Err(Error::Conflict("Send invitations again on the members page."));
    }
    if sent_at.is_some_and(|sent_at| now.since(sent_at) < MINUTE || attempts >= MOST) {
        return Err(Error::Conflict("This e-mail was sent less than a minute ago, or ten times already."));
    }
    let changed = diesel::update(outbox::table.find(id))
        .filter(outbox::org_id.eq(org))
        .set((
            outbox::state.eq(State::Queued.name()),
            outbox::due_at.eq(now),
            outbox::last_error.eq(None::<String>),
            outbox::combined_in.eq(None::<MailId>),
            // The process that holds it may be gone; a second copy has the same id.
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
