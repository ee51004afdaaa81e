//! Choosing a new password by a link in a mail.
//!
//! Whoever asks is answered the same whether or not the address is known, after the same work:
//! for an unknown address it is done for someone else and undone.

use crate::authority::RequestSource;
use crate::crypto::Keyring;
use crate::db::{Conn, Db, Tx};
use crate::error::Result;
use crate::mail::{Change, PasswordReset, outbox};
use crate::people::credential;
use crate::people::links::{self, Purpose};
use crate::people::notice;
use crate::people::password::Hashed;
use crate::people::recovery::{self, Ends};
use crate::people::store::{self, Person};
use crate::people::throttle::{self, Act};
use crate::time::Time;

/// Sends a link to whoever has this address. Returns the seconds to wait before the next try
/// counts: 0 when this one did.
pub async fn ask(db: &Db, keyring: &Keyring, email: &str, client: &str, now: Time) -> Result<i64> {
    let (keys, asked, client) = (keyring.throttle.clone(), email.to_owned(), client.to_owned());
    let (buckets, wait) = db
        .read(move |conn| {
            let person = store::by_email(conn, &asked)?;
            let buckets =
                throttle::buckets(conn, &keys, Act::AskReset, &asked, person.as_ref(), &client, None)?;
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

/// The person whose password a link's token replaces, if it counts.
pub fn of_token(conn: &mut Conn, keyring: &Keyring, token: &str, now: Time) -> Result<Option<Person>> {
    let Some(link) = links::open(conn, keyring, Purpose::Reset, token, now)? else { return Ok(None) };
    Ok(store::find(conn, link.person)?.filter(|person| person.disabled_at.is_none()))
}

/// Replaces the password of whoever has this token and secures the account. `client` is as the
/// throttle counts it. `None` when the token does not count any more.
pub fn choose(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    token: &str,
    password: &Hashed,
    client: &str,
    source: &RequestSource,
    now: Time,
) -> Result<Option<Person>> {
    let Some(person) = of_token(tx.conn, keyring, token, now)? else { return Ok(None) };
    // The person's row is locked before the link's, as everywhere.
    if !recovery::is_current(tx, &person)? {
        return Ok(None);
    }
    let Some(link) = links::take(tx, keyring, Purpose::Reset, token, now)? else { return Ok(None) };
    replace(tx, keyring, &person, password, now)?;
    // Whoever follows the link reads that mailbox.
    if person.has_address(&link.email) {
        store::set_verified(tx, person.id, now)?;
    }
    if let Some(person) = store::find(tx.conn, person.id)? {
        throttle::remember_client(tx, &keyring.throttle, &person, client, now)?;
    }
    notice::tell(tx, &person, Change::PasswordReset, source, now)?;
    Ok(Some(person))
}

/// Replaces a forgotten password: the account is secured, and earlier tries slow its owner down no more.
pub fn replace(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    person: &Person,
    password: &Hashed,
    now: Time,
) -> Result<()> {
    recovery::secure(tx, person, Ends::All, now)?;
    throttle::forgive_account(tx, &keyring.throttle, person)?;
    credential::set(tx, person.id, password, now)
}

fn send(tx: &mut Tx<'_>, person: &Person, now: Time) -> Result<()> {
    let Some(link) = links::make(tx, person.id, Purpose::Reset, &person.email, now)? else { return Ok(()) };
    let letter = PasswordReset { link: link.id, ends_at: link.ends_at };
    outbox::queue(tx, &notice::recipient(person), &letter.into(), now)
}
