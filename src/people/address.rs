//! A person's e-mail address: verifying, changing and cancelling a change.
//!
//! A change is pending until it is confirmed by the link that was sent to the new address, or that link
//! expires. The old address is notified at once, with a link that cancels the change.

use diesel::prelude::*;

use crate::authority::RequestSource;
use crate::crypto::Keyring;
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::mail::{Change, EmailVerification, Recipient, outbox};
use crate::people::links::{self, Link, Purpose};
use crate::people::store::{self, Person, fold_email};
use crate::people::{notice, recovery};
use crate::schema::people;
use crate::time::Time;

const TOO_MANY: Error =
    Error::Conflict("We sent you several e-mails in the last hour. Look for them, or try again later.");

/// The result of following a confirmation link.
#[derive(Debug)]
pub enum ConfirmedAddress {
    /// The person's current address is verified.
    Same(Person),
    /// The person's address was changed to the new one, which is verified.
    Changed(Person),
}

/// Sends a link that verifies a person's current address. Errors: `Conflict` if they were sent too many
/// links lately.
pub fn send_confirmation(tx: &mut Tx<'_>, person: &Person, now: Time) -> Result<()> {
    recovery::require_current(tx, person)?;
    send(tx, person, &person.email, now)
}

/// Requests a change of address: sends a confirmation link to the new address and, to the current one, a
/// notice with a link that cancels the change. Errors: `Conflict` if they were sent too many links lately.
pub fn request_change(
    tx: &mut Tx<'_>,
    person: &Person,
    email: &str,
    source: &RequestSource,
    now: Time,
) -> Result<()> {
    recovery::require_current(tx, person)?;
    send(tx, person, email, now)?;
    let cancel = links::create(tx, person.id, Purpose::CancelEmail, email, now)?.ok_or(TOO_MANY)?;
    let change =
        Change::EmailChangeRequested { email: email.to_owned(), cancel: cancel.id, ends_at: cancel.ends_at };
    notice::send(tx, person, change, source, now)
}

fn send(tx: &mut Tx<'_>, person: &Person, email: &str, now: Time) -> Result<()> {
    let link = links::create(tx, person.id, Purpose::Verify, email, now)?.ok_or(TOO_MANY)?;
    let content = EmailVerification { link: link.id, email: email.to_owned(), ends_at: link.ends_at };
    let reader = Recipient { address: email.to_owned(), ..person.recipient(None) };
    outbox::queue(tx, &reader, &content.into(), now)
}

/// The pending change of address, if there is one.
pub fn pending(conn: &mut Conn, person: &Person, now: Time) -> Result<Option<Link>> {
    let link = links::pending(conn, person.id, Purpose::Verify, now)?;
    Ok(link.filter(|link| !person.has_address(&link.email)))
}

/// Cancels a person's pending change and notifies them; `false` if there was none.
pub fn cancel(tx: &mut Tx<'_>, person: &Person, source: &RequestSource, now: Time) -> Result<bool> {
    recovery::require_current(tx, person)?;
    if pending(tx.conn, person, now)?.is_none() {
        return Ok(false);
    }
    links::withdraw(tx, person.id, Purpose::Verify, now)?;
    links::withdraw(tx, person.id, Purpose::CancelEmail, now)?;
    notice::send(tx, person, Change::EmailChangeCancelled, source, now)?;
    Ok(true)
}

/// The person whose change the token of a notice cancels, and the new address; `None` if there is nothing
/// to cancel. After a second request, the first notice cancels that one too.
pub fn find_by_cancel_token(
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

/// Cancels a change by the token of its notice; `None` if there is nothing to cancel.
pub fn cancel_by_token(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Person>> {
    let Some((person, _)) = find_by_cancel_token(tx.conn, keyring, token, now)? else { return Ok(None) };
    Ok(cancel(tx, &person, source, now)?.then_some(person))
}

/// Uses a confirmation link. `None` if it is no longer valid. Errors: `Conflict` if the address now
/// belongs to someone else.
pub fn confirm(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<ConfirmedAddress>> {
    let Some(link) = links::open(tx.conn, keyring, Purpose::Verify, token, now)? else { return Ok(None) };
    let found = store::find(tx.conn, link.person)?.filter(|person| person.disabled_at.is_none());
    let Some(person) = found else { return Ok(None) };
    // The person's row is locked before the link's, as everywhere.
    if !recovery::is_current(tx, &person)? {
        return Ok(None);
    }
    if links::consume(tx, keyring, Purpose::Verify, token, now)?.is_none() {
        return Ok(None);
    }
    store::set_verified(tx, person.id, now)?;
    if person.has_address(&link.email) {
        return Ok(Some(ConfirmedAddress::Same(person)));
    }
    replace(tx, &person, &link.email, Some(now))?;
    // All earlier links went to the old address, or were about it.
    links::withdraw_all(tx, person.id, now)?;
    notice::send(tx, &person, Change::EmailChanged, source, now)?;
    Ok(Some(ConfirmedAddress::Changed(person)))
}

/// Changes a person's address, verified at the given time or not at all. Errors: `Conflict` if it belongs
/// to someone else.
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
        .map_err(|error| store::unless_taken(error, TAKEN))?;
    Ok(())
}
