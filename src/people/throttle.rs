//! What slows down whoever guesses passwords or asks for e-mails again and again.
//!
//! Tries are counted per account (as typed, so unknown ones too) and per address of the client. After
//! some tries the next must wait, longer each time and at most [`LONGEST_WAIT`]: nobody is locked out
//! for good. A try that has to wait is recorded nowhere, so waiting always ends, and an address that
//! has to wait can't make an account wait. A success forgets the account's tries; an hour without a
//! try forgets the rest.
//!
//! From a network from which a person has signed in before, their tries are counted apart: strangers
//! who guess elsewhere don't keep them out.

use diesel::prelude::*;

use crate::crypto::{Digest, MacKey};
use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::SessionId;
use crate::people::store::{Person, fold_email};
use crate::schema::{known_clients, sign_in_attempts as attempts};
use crate::time::{DAY, HOUR, MINUTE, Time};

/// The longest that anyone has to wait for the next try, in seconds.
pub const LONGEST_WAIT: i64 = 15 * MINUTE;
const FREE_TRIES_PER_ACCOUNT: i64 = 5;
const FREE_TRIES_PER_ADDRESS: i64 = 20;
/// How long a network stays known after a sign-in from it.
const KNOWN: i64 = 30 * DAY;

/// What is slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Giving a password.
    SignIn,
    /// Asking for an e-mail with a link to choose a new one.
    AskReset,
}

impl Act {
    const ALL: [Act; 2] = [Act::SignIn, Act::AskReset];

    /// Begins the names of its buckets.
    fn prefix(self) -> &'static str {
        match self {
            Act::SignIn => "",
            Act::AskReset => "reset ",
        }
    }

    fn account(self, keys: &MacKey, email: &str, who: &str) -> Digest {
        keys.digest(format!("{}account:{}{who}", self.prefix(), fold_email(email)).as_bytes())
    }
}

/// Where a try is counted.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    account: Digest,
    address: Digest,
    /// Whether it is somebody who is signed in, or was signed in from there lately.
    pub is_known: bool,
}

/// Where a try is counted, by the address as typed, the person who has it, the client and the session
/// of someone who is signed in.
pub fn buckets(
    conn: &mut Conn,
    keys: &MacKey,
    act: Act,
    email: &str,
    person: Option<&Person>,
    client: &str,
    session: Option<SessionId>,
) -> Result<Buckets> {
    let known = match person {
        Some(person) => is_known(conn, known_client(keys, person, client))?,
        None => false,
    };
    let who = match session {
        Some(session) => format!(" session:{session}"),
        None if known => format!(" client:{client}"),
        None => String::new(),
    };
    let address = keys.digest(format!("{}address:{client}", act.prefix()).as_bytes());
    let is_known = known || session.is_some();
    Ok(Buckets { account: act.account(keys, email, &who), address, is_known })
}

/// How many seconds a try has to wait: 0 for none. Reads only, so that those who must wait cost little.
pub fn wait(conn: &mut Conn, buckets: &Buckets, now: Time) -> Result<i64> {
    for bucket in [buckets.address, buckets.account] {
        let bucket = row(bucket).first(conn).optional()?.map(Bucket::of);
        let wait = bucket.map_or(0, |bucket| bucket.wait(now));
        if wait > 0 {
            return Ok(wait);
        }
    }
    Ok(0)
}

/// Counts one try by its address and its account and returns 0, or, when it has to wait, counts it
/// nowhere and returns the seconds. Of tries at once each sees those that were counted before it.
pub fn count_try(tx: &mut Tx<'_>, buckets: &Buckets, now: Time) -> Result<i64> {
    // The address first, here and in whatever else holds both.
    let address = hold(tx, buckets.address, now)?;
    let account = match address.wait(now) {
        0 => hold(tx, buckets.account, now)?,
        wait => return Ok(wait),
    };
    let wait = account.wait(now);
    if wait > 0 {
        // Holding the address has made a row of it, if there was none.
        let unused = attempts::bucket.eq(buckets.address.as_slice()).and(attempts::failures.eq(0));
        diesel::delete(attempts::table.filter(unused)).execute(tx.conn)?;
        return Ok(wait);
    }
    count(tx, buckets.address, address, FREE_TRIES_PER_ADDRESS, now)?;
    count(tx, buckets.account, account, FREE_TRIES_PER_ACCOUNT, now)?;
    Ok(0)
}

/// A try whose password was not compared was no guess.
pub fn take_back(tx: &mut Tx<'_>, buckets: &Buckets) -> Result<()> {
    let both = [buckets.address, buckets.account].map(|bucket| bucket.as_slice().to_vec());
    let counted = attempts::bucket.eq_any(both).and(attempts::failures.gt(0));
    diesel::update(attempts::table.filter(counted))
        .set((attempts::failures.eq(attempts::failures - 1), attempts::blocked_until.eq(attempts::last_at)))
        .execute(tx.conn)?;
    Ok(())
}

/// A success was no guess: the account's tries are forgotten, and the many people behind one address
/// don't slow each other down.
pub fn forgive_success(tx: &mut Tx<'_>, buckets: &Buckets) -> Result<()> {
    let address = attempts::bucket.eq(buckets.address.as_slice()).and(attempts::failures.gt(0));
    diesel::update(attempts::table.filter(address))
        .set((attempts::failures.eq(attempts::failures - 1), attempts::blocked_until.eq(attempts::last_at)))
        .execute(tx.conn)?;
    diesel::delete(attempts::table.find(buckets.account.as_slice())).execute(tx.conn)?;
    Ok(())
}

/// Forgets the tries at an account whose password was replaced, so that its owner can sign in at once.
pub fn forgive_account(tx: &mut Tx<'_>, keys: &MacKey, person: &Person) -> Result<()> {
    let buckets = Act::ALL.map(|act| act.account(keys, &person.email, "").as_slice().to_vec());
    diesel::delete(attempts::table.filter(attempts::bucket.eq_any(buckets))).execute(tx.conn)?;
    Ok(())
}

/// Notes that a person has proved who they are from a client. An act of recovery forgets all of them.
pub fn remember_client(
    tx: &mut Tx<'_>,
    keys: &MacKey,
    person: &Person,
    client: &str,
    now: Time,
) -> Result<()> {
    let digest = known_client(keys, person, client);
    let row = (known_clients::digest.eq(digest.as_slice()), known_clients::seen_at.eq(now));
    each!(tx.conn, |c| {
        diesel::insert_into(known_clients::table)
            .values(row)
            .on_conflict(known_clients::digest)
            .do_update()
            .set(known_clients::seen_at.eq(now))
            .execute(c)
    })?;
    Ok(())
}

/// The client from which somebody secured their account stays known if it was: [`remember_client`]
/// under the generation of access that began with it. A stolen session makes no other one known.
pub fn keep_client(tx: &mut Tx<'_>, keys: &MacKey, person: &Person, client: &str, now: Time) -> Result<()> {
    if !is_known(tx.conn, known_client(keys, person, client))? {
        return Ok(());
    }
    let person = Person { access_generation: person.access_generation + 1, ..person.clone() };
    remember_client(tx, keys, &person, client, now)
}

/// What is said to whoever has to wait.
pub fn words_of_wait(seconds: i64) -> String {
    let time = if seconds < 60 { format!("{seconds} s") } else { format!("{} min", (seconds + 59) / 60) };
    format!("Too many tries. Wait {time} and try again.")
}

/// Forgets tries that no longer slow anyone down, and clients that have not been seen for long.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(attempts::table.filter(attempts::last_at.lt(now.plus(-HOUR)))).execute(tx.conn)?;
    diesel::delete(known_clients::table.filter(known_clients::seen_at.lt(now.plus(-KNOWN))))
        .execute(tx.conn)?;
    Ok(())
}

/// The tries in a bucket.
#[derive(Clone, Copy)]
struct Bucket {
    failures: i64,
    last_at: Time,
    blocked_until: Time,
}

impl Bucket {
    fn of((failures, last_at, blocked_until): (i64, Time, Time)) -> Bucket {
        Bucket { failures, last_at, blocked_until }
    }

    /// Whether its tries still matter. One that lies ahead was counted by a clock that went wrong, which
    /// must keep nobody out.
    fn is_recent(self, now: Time) -> bool {
        (-MINUTE..HOUR).contains(&now.since(self.last_at))
    }

    fn wait(self, now: Time) -> i64 {
        // Without a wait both times are the same, and may be after the start of a try that was slow.
        let waits = self.is_recent(now) && self.blocked_until > now.max(self.last_at);
        if waits { self.blocked_until.since(now).max(1) } else { 0 }
    }
}

#[diesel::dsl::auto_type]
fn row(bucket: Digest) -> _ {
    let bucket: Vec<u8> = bucket.as_slice().to_vec();
    attempts::table.find(bucket).select((attempts::failures, attempts::last_at, attempts::blocked_until))
}

/// Locks a bucket until the transaction ends. One that is new is made, so that there is something to
/// lock; one that is there is not written.
fn hold(tx: &mut Tx<'_>, bucket: Digest, now: Time) -> Result<Bucket> {
    let new = (
        attempts::bucket.eq(bucket.as_slice()),
        attempts::failures.eq(0_i64),
        attempts::last_at.eq(now),
        attempts::blocked_until.eq(now),
    );
    loop {
        each!(tx.conn, |c| diesel::insert_into(attempts::table)
            .values(new)
            .on_conflict_do_nothing()
            .execute(c))?;
        let held = match tx.conn {
            Conn::Postgres(conn) => row(bucket).for_update().first(conn).optional()?,
            // The transaction has locked everything already.
            Conn::Sqlite(conn) => row(bucket).first(conn).optional()?,
        };
        // A success may have forgotten it between the two statements.
        if let Some(held) = held {
            return Ok(Bucket::of(held));
        }
    }
}

fn count(tx: &mut Tx<'_>, bucket: Digest, held: Bucket, free: i64, now: Time) -> Result<()> {
    let (before, now) = if held.is_recent(now) { (held.failures, now.max(held.last_at)) } else { (0, now) };
    let tries = before + 1;
    let wait = if tries < free { 0 } else { LONGEST_WAIT.min(1 << (tries - free).min(20)) };
    // Added up by the database: no count is lost, whoever else writes.
    let added = attempts::failures - held.failures + tries;
    diesel::update(attempts::table.find(bucket.as_slice()))
        .set((
            attempts::failures.eq(added),
            attempts::last_at.eq(now),
            attempts::blocked_until.eq(now.plus(wait)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// A client that is known belongs to one generation of access: who secured an account signs in again.
fn known_client(keys: &MacKey, person: &Person, client: &str) -> Digest {
    keys.digest(format!("known:{}:{}:{client}", person.id, person.access_generation).as_bytes())
}

fn is_known(conn: &mut Conn, digest: Digest) -> Result<bool> {
    let found: Option<Time> =
        known_clients::table.find(digest.as_slice()).select(known_clients::seen_at).first(conn).optional()?;
    Ok(found.is_some())
}
