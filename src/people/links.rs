//! Links that are sent by mail: each counts once and for a while. The row says whether it does;
//! the token is made from the row's id when the mail is sent.

use diesel::prelude::*;

use crate::crypto::Keyring;
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{LinkId, UserId};
use crate::schema::mailed_links as links;
use crate::time::{DAY, HOUR, MINUTE, Time};

/// How many links for one purpose a person is sent in an hour.
const MOST_IN_AN_HOUR: i64 = 5;

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To choose a new password.
    Reset,
    /// To prove that an address is the person's.
    Verify,
    /// To stop a change of the e-mail address; sent to the address before the change.
    CancelEmail,
    /// To agree to get the checkpoints of a log at an address.
    Checkpoints,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Purpose; 4] =
        [Purpose::Reset, Purpose::Verify, Purpose::CancelEmail, Purpose::Checkpoints];

    /// The name in the database, and what tokens are made for.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Reset => "reset",
            Purpose::Verify => "verify",
            Purpose::CancelEmail => "cancel_email",
            Purpose::Checkpoints => "checkpoints",
        }
    }

    /// How long such a link counts, in seconds.
    pub fn lasts(self) -> i64 {
        match self {
            Purpose::Reset => 30 * MINUTE,
            Purpose::Verify | Purpose::CancelEmail => DAY,
            // Whoever reads mails at an address outside may not do so every day.
            Purpose::Checkpoints => 7 * DAY,
        }
    }
}

/// A link that counts.
#[derive(Clone, Debug, Queryable)]
pub struct Link {
    /// Its identifier.
    pub id: LinkId,
    /// For whom.
    pub person: UserId,
    /// The address that it is about: the one to which it was sent, except that a link that stops a
    /// change names the new address.
    pub email: String,
    /// Until when.
    pub ends_at: Time,
}

/// Makes a link for a person, to be sent to this address; links before it count no longer, except those
/// that stop a change: whichever notice is opened first must stop what is pending then. `None` when they
/// were sent too many of late.
pub fn make(
    tx: &mut Tx<'_>,
    person: UserId,
    purpose: Purpose,
    email: &str,
    now: Time,
) -> Result<Option<Link>> {
    let own = links::person_id.eq(person).and(links::purpose.eq(purpose.name()));
    let lately: i64 =
        links::table.filter(own.and(links::created_at.gt(now.plus(-HOUR)))).count().get_result(tx.conn)?;
    // Whoever asks for many must not keep the owner from recovering the account: there is always a link
    // in their mailbox that works, or another one is sent.
    if lately >= MOST_IN_AN_HOUR && (purpose != Purpose::Reset || has_open(tx, person, purpose, now)?) {
        return Ok(None);
    }
    if purpose != Purpose::CancelEmail {
        withdraw(tx, person, purpose, now)?;
    }
    let link =
        Link { id: LinkId::new(now), person, email: email.to_owned(), ends_at: now.plus(purpose.lasts()) };
    diesel::insert_into(links::table)
        .values((
            links::id.eq(link.id),
            links::person_id.eq(person),
            links::purpose.eq(purpose.name()),
            links::email.eq(email),
            links::created_at.eq(now),
            links::ends_at.eq(link.ends_at),
        ))
        .execute(tx.conn)?;
    Ok(Some(link))
}

fn has_open(tx: &mut Tx<'_>, person: UserId, purpose: Purpose, now: Time) -> Result<bool> {
    let open = links::person_id.eq(person).and(links::purpose.eq(purpose.name()));
    let open: i64 = links::table
        .filter(open.and(links::used_at.is_null()).and(links::ends_at.gt(now)))
        .count()
        .get_result(tx.conn)?;
    Ok(open > 0)
}

/// The link of this token, if it counts.
pub fn open(
    conn: &mut Conn,
    keyring: &Keyring,
    purpose: Purpose,
    token: &str,
    now: Time,
) -> Result<Option<Link>> {
    let Some(id) = id_of(keyring, purpose, token) else { return Ok(None) };
    Ok(links::table
        .find(id)
        .filter(links::purpose.eq(purpose.name()).and(links::used_at.is_null()).and(links::ends_at.gt(now)))
        .select((links::id, links::person_id, links::email, links::ends_at))
        .first(conn)
        .optional()?)
}

/// Uses the link of this token; of two at once one succeeds.
pub fn take(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    purpose: Purpose,
    token: &str,
    now: Time,
) -> Result<Option<Link>> {
    let Some(link) = open(tx.conn, keyring, purpose, token, now)? else { return Ok(None) };
    let used = diesel::update(links::table.find(link.id).filter(links::used_at.is_null()))
        .set(links::used_at.eq(now))
        .execute(tx.conn)?;
    Ok((used == 1).then_some(link))
}

/// Makes a person's links for this purpose count no longer.
pub fn withdraw(tx: &mut Tx<'_>, person: UserId, purpose: Purpose, now: Time) -> Result<()> {
    let open =
        links::person_id.eq(person).and(links::purpose.eq(purpose.name())).and(links::used_at.is_null());
    diesel::update(links::table.filter(open)).set(links::used_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

/// Makes all links of a person count no longer, whatever they are for. Returns those that did.
pub fn withdraw_all(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<Vec<LinkId>> {
    let open = links::person_id.eq(person).and(links::used_at.is_null());
    Ok(diesel::update(links::table.filter(open))
        .set(links::used_at.eq(now))
        .returning(links::id)
        .get_results(tx.conn)?)
}

/// The link of a person for this purpose that counts, if there is one.
pub fn pending(conn: &mut Conn, person: UserId, purpose: Purpose, now: Time) -> Result<Option<Link>> {
    Ok(links::table
        .filter(links::person_id.eq(person).and(links::purpose.eq(purpose.name())))
        .filter(links::used_at.is_null().and(links::ends_at.gt(now)))
        .select((links::id, links::person_id, links::email, links::ends_at))
        .first(conn)
        .optional()?)
}

/// Forgets links that ended long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(links::table.filter(links::ends_at.le(now.plus(-DAY)))).execute(tx.conn)?;
    Ok(())
}

fn id_of(keyring: &Keyring, purpose: Purpose, token: &str) -> Option<LinkId> {
    keyring.open_link_token(purpose.name(), token).and_then(LinkId::parse)
}
