//! Signing in with a password, and what slows down whoever guesses.
//!
//! Each try is counted before the password is looked at, per account (as typed, so unknown
//! ones too) and per address. After some tries the next must wait, longer each time and at
//! most [`LONGEST_WAIT`]: nobody is locked out for good. A success forgets the account's
//! tries; an hour without a try forgets the rest.

use diesel::prelude::*;
use secrecy::SecretString;

use crate::crypto::{Digest, MacKey};
use crate::db::{Db, Tx, each};
use crate::error::Result;
use crate::people::store::{self, Person, fold_email};
use crate::people::{methods, password};
use crate::schema::sign_in_attempts as attempts;
use crate::time::{HOUR, MINUTE, Time};

/// The longest that anyone has to wait for the next try, in seconds.
pub const LONGEST_WAIT: i64 = 15 * MINUTE;
const FREE_TRIES_PER_ACCOUNT: i64 = 5;
const FREE_TRIES_PER_ADDRESS: i64 = 20;

/// Someone who tries to sign in.
pub struct Attempt {
    /// The address as typed.
    pub email: String,
    /// The password as typed.
    pub password: SecretString,
    /// The client's address, as far as tries are counted by it.
    pub client: String,
    /// The zone that the browser tells, for people without one.
    pub zone: Option<String>,
}

/// What came of it.
pub enum Outcome {
    /// They are who they say.
    Welcome(Box<Person>),
    /// Unknown, wrong password or not allowed to sign in: all the same to the asker.
    Refused,
    /// Too many tries; the next one counts after so many seconds.
    Wait(i64),
}

/// Checks address and password. `welcome` runs in the transaction of the success.
pub async fn with_password<F>(
    db: &Db,
    throttle: &MacKey,
    attempt: Attempt,
    mut welcome: F,
    now: Time,
) -> Result<Outcome>
where
    F: FnMut(&mut Tx<'_>, &Person) -> Result<()> + Send + 'static,
{
    let account = throttle.digest(format!("account:{}", fold_email(&attempt.email)).as_bytes());
    let address = throttle.digest(format!("address:{}", attempt.client).as_bytes());
    let wait = db.write(move |tx| count_try(tx, account, address, now)).await?;
    if wait > 0 {
        return Ok(Outcome::Wait(wait));
    }
    let email = attempt.email.clone();
    let known = db
        .read(move |conn| {
            let Some(person) = store::by_email(conn, &email)? else {
                return Ok(None);
            };
            let hashed = store::password(conn, person.id)?;
            Ok(Some((person, hashed)))
        })
        .await?;
    let (person, hashed) = known.unzip();
    let right = password::verify(attempt.password.clone(), hashed.flatten()).await?;
    let Some(person) = person.filter(|person| right && person.disabled_at.is_none()) else {
        return Ok(Outcome::Refused);
    };
    let person = db
        .write(move |tx| {
            forget(tx, account)?;
            give_back(tx, address)?;
            methods::note_password(tx, person.id, now)?;
            let mut person = person.clone();
            if let (None, Some(zone)) = (&person.zone, &attempt.zone) {
                store::set_zone(tx, person.id, zone)?;
                person.zone = Some(zone.clone());
            }
            welcome(tx, &person)?;
            Ok(person)
        })
        .await?;
    Ok(Outcome::Welcome(Box::new(person)))
}

/// What is said to whoever has to wait.
pub fn words_of_wait(seconds: i64) -> String {
    let time = if seconds < 60 { format!("{seconds} s") } else { format!("{} min", (seconds + 59) / 60) };
    format!("Too many tries. Wait {time} and try again.")
}

/// Forgets tries that no longer slow anyone down.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(attempts::table.filter(attempts::last_at.lt(now.plus(-HOUR)))).execute(tx.conn)?;
    Ok(())
}

/// Counts one try by its account and its address, and returns the seconds to wait before it may
/// be made: 0 for now.
pub fn count_try(tx: &mut Tx<'_>, account: Digest, address: Digest, now: Time) -> Result<i64> {
    let account = count(tx, account, FREE_TRIES_PER_ACCOUNT, now)?;
    let address = count(tx, address, FREE_TRIES_PER_ADDRESS, now)?;
    Ok(account.max(address))
}

/// Counts one try and returns the seconds to wait before it may be made: 0 for now. A try
/// that has to wait is not counted, so waiting always ends.
fn count(tx: &mut Tx<'_>, bucket: Digest, free: i64, now: Time) -> Result<i64> {
    let known: Option<(i64, Time, Time)> = attempts::table
        .find(bucket.as_slice())
        .select((attempts::failures, attempts::last_at, attempts::blocked_until))
        .first(tx.conn)
        .optional()?;
    // A try that lies ahead was counted by a clock that went wrong, which must keep nobody out.
    let recent = known.filter(|(_, last_at, _)| (-MINUTE..HOUR).contains(&now.since(*last_at)));
    if let Some((_, _, blocked_until)) = recent
        && blocked_until > now
    {
        return Ok(blocked_until.since(now).max(1));
    }
    let tries = recent.map_or(0, |(tries, _, _)| tries) + 1;
    let wait = if tries < free { 0 } else { LONGEST_WAIT.min(1 << (tries - free).min(20)) };
    let row = (
        attempts::bucket.eq(bucket.as_slice()),
        attempts::failures.eq(tries),
        attempts::last_at.eq(now),
        attempts::blocked_until.eq(now.plus(wait)),
    );
    each!(tx.conn, |c| {
        diesel::insert_into(attempts::table)
            .values(row)
            .on_conflict(attempts::bucket)
            .do_update()
            .set((
                attempts::failures.eq(tries),
                attempts::last_at.eq(now),
                attempts::blocked_until.eq(now.plus(wait)),
            ))
            .execute(c)
    })?;
    Ok(0)
}

fn forget(tx: &mut Tx<'_>, bucket: Digest) -> Result<()> {
    diesel::delete(attempts::table.find(bucket.as_slice())).execute(tx.conn)?;
    Ok(())
}

/// A success was no guess, so the many people behind one address don't slow each other down.
fn give_back(tx: &mut Tx<'_>, bucket: Digest) -> Result<()> {
    diesel::update(attempts::table.find(bucket.as_slice()))
        .set((attempts::failures.eq(attempts::failures - 1), attempts::blocked_until.eq(attempts::last_at)))
        .execute(tx.conn)?;
    Ok(())
}
