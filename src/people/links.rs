//! Links sent by e-mail, each valid once and for a limited time. The row says whether a link is valid; its
//! token is computed from the row's id when the e-mail is sent.

use diesel::prelude::*;

use crate::crypto::Keyring;
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{LinkId, UserId};
use crate::schema::mailed_links as links;
use crate::time::{DAY, HOUR, MINUTE, Time};

/// How many links of one purpose a person is sent within an hour.
const MOST_IN_AN_HOUR: i64 = 5;

/// What a link does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Choose a new password.
    Reset,
    /// Verify that an address belongs to the person.
    Verify,
    /// Cancel a change of the e-mail address; sent to the old address.
    CancelEmail,
    /// Agree to receive the checkpoints of a log.
    Checkpoints,
}

impl Purpose {
    pub const ALL: [Purpose; 4] =
        [Purpose::Reset, Purpose::Verify, Purpose::CancelEmail, Purpose::Checkpoints];

    /// The name in the database and in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Purpose::Reset => "reset",
            Purpose::Verify => "verify",
            Purpose::CancelEmail => "cancel_email",
            Purpose::Checkpoints => "checkpoints",
        }
    }

    /// How long such a link is valid, in seconds.
    pub fn lifetime(self) -> i64 {
        match self {
            Purpose::Reset => 30 * MINUTE,
            Purpose::Verify | Purpose::CancelEmail => DAY,
            // An external mailbox may not be read every day.
            Purpose::Checkpoints => 7 * DAY,
        }
    }
}

/// A valid link.
#[derive(Clone, Debug, Queryable)]
pub struct Link {
    pub id: LinkId,
    pub person: UserId,
    /// The address to which the link was sent; for [`Purpose::CancelEmail`], the new address.
    pub email: String,
    pub ends_at: Time,
}

/// Creates a link for a person, to be sent to `email`. Earlier links of this purpose become invalid, except
/// those that cancel a change: whichever notice is opened first must cancel what is pending then. `None` if
/// the person was sent too many links lately.
pub fn create(
    tx: &mut Tx<'_>,
    person: UserId,
    purpose: Purpose,
    email: &str,
    now: Time,
) -> Result<Option<Link>> {
    let own = links::person_id.eq(person).and(links::purpose.eq(purpose.name()));
    let lately: i64 =
        links::table.filter(own.and(links::created_at.gt(now.plus(-HOUR)))).count().get_result(tx.conn)?;
    // An attacker who requests many links must not keep the owner from recovering the account: either
    // a valid link is in their mailbox, or another one is sent.
    if lately >= MOST_IN_AN_HOUR && (purpose != Purpose::Reset || has_open(tx, person, purpose, now)?) {
        return Ok(None);
    }
    if purpose != Purpose::CancelEmail {
        withdraw(tx, person, purpose, now)?;
    }
    let link =
        Link { id: LinkId::new(now), person, email: email.to_owned(), ends_at: now.plus(purpose.lifetime()) };
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

/// The link of this token, if it is valid.
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

/// Uses up the link of this token; of two concurrent attempts, one succeeds.
pub fn consume(
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

/// Invalidates a person's links of this purpose.
pub fn withdraw(tx: &mut Tx<'_>, person: UserId, purpose: Purpose, now: Time) -> Result<()> {
    let open =
        links::person_id.eq(person).and(links::purpose.eq(purpose.name())).and(links::used_at.is_null());
    diesel::update(links::table.filter(open)).set(links::used_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

/// Invalidates all of a person's links. Returns those that were valid.
pub fn withdraw_all(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<Vec<LinkId>> {
    let open = links::person_id.eq(person).and(links::used_at.is_null());
    Ok(diesel::update(links::table.filter(open))
        .set(links::used_at.eq(now))
        .returning(links::id)
        .get_results(tx.conn)?)
}

/// A person's valid link of this purpose, if there is one.
pub fn pending(conn: &mut Conn, person: UserId, purpose: Purpose, now: Time) -> Result<Option<Link>> {
    Ok(links::table
        .filter(links::person_id.eq(person).and(links::purpose.eq(purpose.name())))
        .filter(links::used_at.is_null().and(links::ends_at.gt(now)))
        .select((links::id, links::person_id, links::email, links::ends_at))
        .first(conn)
        .optional()?)
}

/// Deletes links that expired more than a day ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(links::table.filter(links::ends_at.le(now.plus(-DAY)))).execute(tx.conn)?;
    Ok(())
}

fn id_of(keyring: &Keyring, purpose: Purpose, token: &str) -> Option<LinkId> {
    keyring.open_link_token(purpose.name(), token).and_then(LinkId::parse)
}
