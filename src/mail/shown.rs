//! The queue of mails as admins see it: what waits, what left, what failed and why.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId};
use crate::mail::outbox::State;
use crate::schema::outbox;
use crate::time::{MINUTE, Time};

/// The event of an invitation, whose mails have rules of their own.
pub const INVITATION: &str = "invitation";
/// How often a mail that arrived is sent in all.
const MOST: i64 = 10;

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
    /// Whether it was told in another e-mail along with others.
    pub is_combined: bool,
}

/// The mails of an organisation in a state, newest first.
pub fn list(conn: &mut Conn, org: OrgId, state: State, most: i64) -> Result<Vec<Entry>> {
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

/// How many mails of an organisation are in a state.
pub fn count(conn: &mut Conn, org: OrgId, state: State) -> Result<i64> {
    Ok(outbox::table
        .filter(outbox::org_id.eq(org).and(outbox::state.eq_any(state.stored())))
        .count()
        .get_result(conn)?)
}

/// Queues a mail once more, as it was: the same words under the same `Message-ID`. One that the server took is
/// sent ten times at most, a minute apart. An invitation is sent again where those who may are known.
///
/// Errors: `NotFound`, `Conflict`.
pub fn send_again(tx: &mut Tx<'_>, org: OrgId, id: MailId, now: Time) -> Result<()> {
    let own = outbox::table.filter(outbox::id.eq(id).and(outbox::org_id.eq(org)));
    let found = own.select((outbox::event, outbox::sent_at, outbox::attempts)).first(tx.conn).optional()?;
    let (event, sent_at, attempts): (String, Option<Time>, i64) = found.ok_or(Error::NotFound)?;
    if event == INVITATION {
        return Err(Error::Conflict("Send an invitation again on the page of members."));
    }
    if sent_at.is_some_and(|sent_at| now.since(sent_at) < MINUTE || attempts >= MOST) {
        return Err(Error::Conflict("This mail was sent within the last minute, or ten times already."));
    }
    let changed = diesel::update(outbox::table.find(id))
        .filter(outbox::org_id.eq(org))
        .set((
            outbox::state.eq(State::Queued.name()),
            outbox::due_at.eq(now),
            outbox::last_error.eq(None::<String>),
            outbox::combined_in.eq(None::<MailId>),
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
