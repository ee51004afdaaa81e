//! A person's e-mail address: proving that it is theirs, changing it, and stopping a change.
//!
//! A change is pending while its link to the new address works. It is told at once to the address
//! before it, with a link that stops it.

use diesel::prelude::*;

use crate::authority::RequestSource;
use crate::crypto::Keyring;
use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::mail::{Change, EmailVerification, Recipient, outbox};
use crate::people::links::{self, Link, Purpose};
use crate::people::store::{self, Person, fold_email};
use crate::people::{notice, recovery};
use crate::schema::people;
use crate::time::Time;

const TOO_MANY: Error =
    Error::Conflict("You were sent several mails in the last hour. Look for them, or try again later.");

/// What following a link came to.
#[derive(Debug)]
pub enum Proved {
    /// The address that the person has is theirs.
    Same(Person),
    /// The person has this address now.
    Changed(Person),
}

/// Sends a link that proves the address that a person has. `Conflict` when they were sent too many of
/// late.
pub fn ask(tx: &mut Tx<'_>, person: &Person, now: Time) -> Result<()> {
    recovery::hold(tx, person)?;
    send(tx, person, &person.email, now)
}

/// Begins a change to another address: a link goes there, and a notice with a link that stops the
/// change to the address that the person has. `Conflict` when they were sent too many of late.
pub fn ask_change(
    tx: &mut Tx<'_>,
    person: &Person,
    email: &str,
    source: &RequestSource,
    now: Time,
) -> Result<()> {
    recovery::hold(tx, person)?;
    send(tx, person, email, now)?;
    let cancel = links::make(tx, person.id, Purpose::CancelEmail, email, now)?.ok_or(TOO_MANY)?;
    let change =
        Change::EmailChangeRequested { email: email.to_owned(), cancel: cancel.id, ends_at: cancel.ends_at };
    notice::tell(tx, person, change, source, now)
}

fn send(tx: &mut Tx<'_>, person: &Person, email: &str, now: Time) -> Result<()> {
    let link = links::make(tx, person.id, Purpose::Verify, email, now)?.ok_or(TOO_MANY)?;
    let letter = EmailVerification { link: link.id, email: email.to_owned(), ends_at: link.ends_at };
    let reader = Recipient { address: email.to_owned(), ..notice::recipient(person) };
    outbox::queue(tx, &reader, &letter.into(), now)
}

/// The change that waits for its confirmation, if there is one.
pub fn pending(conn: &mut Conn, person: &Person, now: Time) -> Result<Option<Link>> {
    let link = links::pending(conn, person.id, Purpose::Verify, now)?;
    Ok(link.filter(|link| !person.has_address(&link.email)))
}

/// Stops the pending change of a person and tells them. `false`: there was none.
pub fn cancel(tx: &mut Tx<'_>, person: &Person, source: &RequestSource, now: Time) -> Result<bool> {
    recovery::hold(tx, person)?;
    if pending(tx.conn, person, now)?.is_none() {
        return Ok(false);
    }
    links::withdraw(tx, person.id, Purpose::Verify, now)?;
    links::withdraw(tx, person.id, Purpose::CancelEmail, now)?;
    notice::tell(tx, person, Change::EmailChangeCancelled, source, now)?;
    Ok(true)
}

/// Whose change the token of a notice stops, and the new address; `None` when it stops nothing. After a
/// second request, the first notice stops that one too.
pub fn of_cancel_token(
    conn: &mut Conn,
    keyring: &Keyring,
    token: &str,
    now: Time,
) -> Result<Option<(Person, String)>> {
    let Some(link) = links::open(conn, keyring, Purpose::CancelEmail, token, now)? else { return Ok(None) };
    let found = store::find(conn, link.person)?.filter(|person| person.disabled_at.is_none());
    let Some(person) = found else { return Ok(None) };
    let pending = pending(conn, &person, now)?;
    Ok(pending.map(|change| (person, change.email)))
}

/// Stops a change by the token of its notice. `None` when there is nothing to stop.
pub fn cancel_by_token(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Person>> {
    let Some((person, _)) = of_cancel_token(tx.conn, keyring, token, now)? else { return Ok(None) };
    Ok(cancel(tx, &person, source, now)?.then_some(person))
}

/// Uses a link. `None` when it does not count any more, `Conflict` when the address has become
/// someone else's.
pub fn prove(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Proved>> {
    let Some(link) = links::open(tx.conn, keyring, Purpose::Verify, token, now)? else { return Ok(None) };
    let found = store::find(tx.conn, link.person)?.filter(|person| person.disabled_at.is_none());
    let Some(person) = found else { return Ok(None) };
    // The person's row is locked before the link's, as everywhere.
    if !recovery::is_current(tx, &person)? {
        return Ok(None);
    }
    if links::take(tx, keyring, Purpose::Verify, token, now)?.is_none() {
        return Ok(None);
    }
    store::set_verified(tx, person.id, now)?;
    if person.has_address(&link.email) {
        return Ok(Some(Proved::Same(person)));
    }
    replace(tx, &person, &link.email, Some(now))?;
    // All links before went to the address before, or were about it.
    links::withdraw_all(tx, person.id, now)?;
    notice::tell(tx, &person, Change::EmailChanged, source, now)?;
    Ok(Some(Proved::Changed(person)))
}

/// Gives a person another address, proved at that time or not at all. `Conflict` when it is someone
/// else's.
pub fn replace(tx: &mut Tx<'_>, person: &Person, email: &str, verified: Option<Time>) -> Result<()> {
    const TAKEN: Error = Error::Conflict("This e-mail address belongs to another account here.");
    store::refuse_spelled(tx, email, Some(person.id)).map_err(|_| TAKEN)?;
    diesel::update(people::table.find(person.id))
        .set((
            people::email.eq(email),
            people::email_folded.eq(fold_email(email)),
            people::email_verified_at.eq(verified),
        ))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "people_email_folded_key", "people.email_folded") {
                TAKEN
            } else {
                error.into()
            }
        })?;
    Ok(())
}
