//! Signing in with a password.
//!
//! The throttle counts each attempt before the password is compared, so concurrent guesses get no
//! further than sequential ones.

use secrecy::SecretString;

use crate::crypto::MacKey;
use crate::db::{Db, Tx};
use crate::error::Result;
use crate::id::SessionId;
use crate::people::password::{self, Priority};
use crate::people::store::{self, Person};
use crate::people::throttle::{self, ThrottledAction};
use crate::people::{credential, recovery};
use crate::time::Time;

/// An attempt to sign in.
pub struct Attempt {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: SecretString,
    /// The client's address, as the throttle counts it.
    pub client: String,
    /// The browser's time zone, for people without one.
    pub zone: Option<String>,
    /// The session of a signed-in person who confirms their identity. Their attempts are counted by it, so
    /// that a stranger's guesses can't block them.
    pub session: Option<SessionId>,
}

/// The result of an attempt.
pub enum Outcome {
    Welcome(Box<Person>),
    /// Unknown address, wrong password or disabled person: the caller can't tell which.
    Refused,
    /// Too many attempts; the next one is accepted after this many seconds.
    Wait(i64),
}

/// Checks address and password. On success, `welcome` runs in the same transaction.
pub async fn with_password<F>(
    db: &Db,
    keys: &MacKey,
    attempt: Attempt,
    mut welcome: F,
    now: Time,
) -> Result<Outcome>
where
    F: FnMut(&mut Tx<'_>, &Person) -> Result<()> + Send + 'static,
{
    let (email, client) = (attempt.email.clone(), attempt.client.clone());
    let (session, digests) = (attempt.session, keys.clone());
    let found = db
        .read(move |conn| {
            let person = store::by_email(conn, &email)?;
            let buckets = throttle::buckets(
                conn,
                &digests,
                ThrottledAction::SignIn,
                &email,
                person.as_ref(),
                &client,
                session,
            )?;
            let wait = throttle::wait(conn, &buckets, now)?;
            let hashed = match &person {
                Some(person) if wait == 0 => credential::find(conn, person.id)?,
                _ => None,
            };
            Ok((person, hashed, buckets, wait))
        })
        .await?;
    let (person, hashed, buckets, wait) = found;
    if wait > 0 {
        return Ok(Outcome::Wait(wait));
    }
    let wait = db.write(move |tx| throttle::count_try(tx, &buckets, now)).await?;
    if wait > 0 {
        return Ok(Outcome::Wait(wait));
    }
    let waits = if buckets.is_known { Priority::Known } else { Priority::Stranger };
    let right = match password::verify(attempt.password.clone(), hashed.clone(), waits).await {
        Ok(right) => right,
        Err(error) => {
            db.write(move |tx| throttle::take_back(tx, &buckets)).await?;
            return Err(error);
        }
    };
    let Some(person) = person.filter(|person| right && person.disabled_at.is_none()) else {
        return Ok(Outcome::Refused);
    };
    let (digests, client) = (keys.clone(), attempt.client.clone());
    db.write(move |tx| {
        // The account may have been secured while the password was compared.
        if !recovery::is_current(tx, &person)? {
            let now = credential::find(tx.conn, person.id)?;
            if now.zip(hashed.as_ref()).is_some_and(|(now, was)| now.is(was)) {
                // The password was right, so it was no guess.
                throttle::take_back(tx, &buckets)?;
                return Ok(Outcome::Wait(1));
            }
            return Ok(Outcome::Refused);
        }
        throttle::forgive_success(tx, &buckets)?;
        throttle::remember_client(tx, &digests, &person, &client, now)?;
        credential::note_use(tx, person.id, now)?;
        let mut person = person.clone();
        if let (None, Some(zone)) = (&person.zone, &attempt.zone) {
            store::set_zone(tx, person.id, zone)?;
            person.zone = Some(zone.clone());
        }
        welcome(tx, &person)?;
        Ok(Outcome::Welcome(Box::new(person)))
    })
    .await
}
