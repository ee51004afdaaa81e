//! Choosing a new password through an e-mailed link.
//!
//! The response is the same whether or not the address is known, after the same work: for an unknown
//! address, the work is done for someone else and rolled back.

use crate::authority::RequestSource;
use crate::crypto::Keyring;
use crate::db::{Conn, Db, Tx};
use crate::error::Result;
use crate::mail::{Change, PasswordReset, outbox};
use crate::people::credential;
use crate::people::links::{self, Purpose};
use crate::people::notice;
use crate::people::password::HashedPassword;
use crate::people::recovery::{self, SessionsToEnd};
use crate::people::store::{self, Person};
use crate::people::throttle::{self, ThrottledAction};
use crate::time::Time;

/// Sends a link to the owner of this address. Returns 0, or the seconds to wait before the next attempt.
pub async fn request(db: &Db, keyring: &Keyring, email: &str, client: &str, now: Time) -> Result<i64> {
    let (keys, asked, client) = (keyring.throttle.clone(), email.to_owned(), client.to_owned());
    let (buckets, wait) = db
        .read(move |conn| {
            let person = store::by_email(conn, &asked)?;
            let buckets = throttle::buckets(
                conn,
                &keys,
                ThrottledAction::RequestReset,
                &asked,
                person.as_ref(),
                &client,
                None,
            )?;
            let wait = throttle::wait(conn, &buckets, now)?;
            Ok((buckets, wait))
        })
        .await?;
    if wait > 0 {
        return Ok(wait);
    }
    let email = email.to_owned();
    db.write(move |tx| {
        let wait = throttle::count_try(tx, &buckets, now)?;
        if wait > 0 {
            return Ok(wait);
        }
        match store::by_email(tx.conn, &email)?.filter(|person| person.disabled_at.is_none()) {
            Some(person) => send(tx, &person, now)?,
            None => {
                if let Some(decoy) = store::any(tx.conn)? {
                    tx.undo(|tx| send(tx, &decoy, now))?;
                }
            }
        }
        Ok(0)
    })
    .await
}

/// The person whose password the token of a link resets, if it is valid.
pub fn find_by_token(conn: &mut Conn, keyring: &Keyring, token: &str, now: Time) -> Result<Option<Person>> {
    let Some(link) = links::open(conn, keyring, Purpose::Reset, token, now)? else { return Ok(None) };
    Ok(store::find(conn, link.person)?.filter(|person| person.disabled_at.is_none()))
}

/// Replaces the password of the token's person and secures the account. `client` is the address by which
/// the throttle counts. `None` if the token is no longer valid.
pub fn complete(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    password: &HashedPassword,
    client: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Person>> {
    let Some(person) = find_by_token(tx.conn, keyring, token, now)? else { return Ok(None) };
    // The person's row is locked before the link's, as everywhere.
    if !recovery::is_current(tx, &person)? {
        return Ok(None);
    }
    let Some(link) = links::consume(tx, keyring, Purpose::Reset, token, now)? else { return Ok(None) };
    replace(tx, keyring, &person, password, now)?;
    // Following the link proves access to that mailbox.
    if person.has_address(&link.email) {
        store::set_verified(tx, person.id, now)?;
    }
    if let Some(person) = store::find(tx.conn, person.id)? {
        throttle::remember_client(tx, &keyring.throttle, &person, client, now)?;
    }
    notice::send(tx, &person, Change::PasswordReset, source, now)?;
    Ok(Some(person))
}

/// Replaces a forgotten password: secures the account, and forgets earlier attempts, so that they don't slow
/// its owner down.
pub fn replace(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    person: &Person,
    password: &HashedPassword,
    now: Time,
) -> Result<()> {
    recovery::secure(tx, person, SessionsToEnd::All, now)?;
    throttle::forgive_account(tx, &keyring.throttle, person)?;
    credential::set(tx, person.id, password, now)
}

fn send(tx: &mut Tx<'_>, person: &Person, now: Time) -> Result<()> {
    let Some(link) = links::create(tx, person.id, Purpose::Reset, &person.email, now)? else { return Ok(()) };
    let content = PasswordReset { link: link.id, ends_at: link.ends_at };
    outbox::queue(tx, &person.recipient(None), &content.into(), now)
}
