//! A person's e-mail address: proving that it is theirs, and changing it.

use diesel::prelude::*;

use crate::authority::RequestSource;
use crate::crypto::Keyring;
use crate::db::{Tx, violates};
use crate::error::{Error, Result};
use crate::mail::{Change, EmailVerification, Recipient, outbox};
use crate::people::links::{self, Purpose};
use crate::people::notice;
use crate::people::store::{self, Person, fold_email};
use crate::schema::people;
use crate::time::Time;

/// What following a link came to.
#[derive(Debug)]
pub enum Proved {
    /// The address that the person has is theirs.
    Same(Person),
    /// The person has this address now.
    Changed(Person),
}

/// Sends a link to an address that a person has or wants to have. `Conflict` when they were sent
/// too many of late.
pub fn ask(tx: &mut Tx<'_>, person: &Person, email: &str, now: Time) -> Result<()> {
    let link = links::make(tx, person.id, Purpose::Verify, email, now)?.ok_or(Error::Conflict(
        "You were sent several mails in the last hour. Look for them, or try again later.",
    ))?;
    let letter = EmailVerification { link: link.id, email: email.to_owned(), ends_at: link.ends_at };
    let reader = Recipient { address: email.to_owned(), ..notice::recipient(person) };
    outbox::queue(tx, &reader, &letter.into(), now)
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
    let Some(link) = links::take(tx, keyring, Purpose::Verify, token, now)? else { return Ok(None) };
    let found = store::find(tx.conn, link.person)?.filter(|person| person.disabled_at.is_none());
    let Some(person) = found else { return Ok(None) };
    store::set_verified(tx, person.id, now)?;
    let folded = fold_email(&link.email);
    if folded == person.email_folded {
        return Ok(Some(Proved::Same(person)));
    }
    diesel::update(people::table.find(person.id))
        .set((people::email.eq(&link.email), people::email_folded.eq(folded)))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "people_email_folded_key", "people.email_folded") {
                Error::Conflict("This e-mail address belongs to another account here.")
            } else {
                error.into()
            }
        })?;
    // Links to choose a password went to the address before.
    links::withdraw(tx, person.id, Purpose::Reset, now)?;
    notice::tell(tx, &person, Change::EmailChanged, source, now)?;
    Ok(Some(Proved::Changed(person)))
}
