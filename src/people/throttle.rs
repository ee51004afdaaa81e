//! Slows down password guessing and repeated requests for e-mails.
//!
//! Attempts are counted per account (as typed, so unknown ones too) and per client address. After some
//! attempts the next one must wait, longer each time and at most [`LONGEST_WAIT`]: no one is locked out
//! for good. An attempt that has to wait isn't counted, so waiting always ends, and an address that has to
//! wait can't slow an account down. A success forgets the account's attempts; an hour without attempts
//! forgets the rest.
//!
//! From a network from which a person has signed in before, their attempts are counted separately, so that
//! guesses from elsewhere don't keep them out.

use diesel::prelude::*;

use crate::crypto::{Digest, MacKey};
use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::SessionId;
use crate::people::store::{Person, fold_email};
use crate::schema::{known_clients, sign_in_attempts as attempts};
use crate::time::{DAY, HOUR, MINUTE, Time};

/// The longest wait before the next attempt, in seconds.
pub const LONGEST_WAIT: i64 = 15 * MINUTE;
const FREE_TRIES_PER_ACCOUNT: i64 = 5;
const FREE_TRIES_PER_ADDRESS: i64 = 20;
/// How long a network stays known after a sign-in, in seconds.
const KNOWN: i64 = 30 * DAY;

/// What is slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThrottledAction {
    /// Entering a password.
    SignIn,
    /// Requesting a link to choose a new password.
    RequestReset,
}

impl ThrottledAction {
    const ALL: [ThrottledAction; 2] = [ThrottledAction::SignIn, ThrottledAction::RequestReset];

    /// The prefix of its bucket names.
    fn prefix(self) -> &'static str {
        match self {
            ThrottledAction::SignIn => "",
            ThrottledAction::RequestReset => "reset ",
        }
    }

    fn account(self, keys: &MacKey, email: &str, who: &str) -> Digest {
        keys.digest(format!("{}account:{}{who}", self.prefix(), fold_email(email)).as_bytes())
    }
}

/// The buckets in which an attempt is counted.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    account: Digest,
    address: Digest,
    /// Whether the person is signed in, or has signed in from this network lately.
    pub is_known: bool,
}

/// The buckets of an attempt, by the address as typed, its owner, the client address and the session of a
/// signed-in person.
pub fn buckets(
    conn: &mut Conn,
    keys: &MacKey,
    act: ThrottledAction,
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

/// The seconds that an attempt has to wait, or 0. Only reads, so refused attempts cost little.
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

/// Counts an attempt in both buckets and returns 0; if it has to wait, counts nothing and returns the
/// seconds. Concurrent attempts see each other's counts.
pub fn count_try(tx: &mut Tx<'_>, buckets: &Buckets, now: Time) -> Result<i64> {
    // The address first, as everywhere that locks both.
    let address = lock(tx, buckets.address, now)?;
    let account = match address.wait(now) {
        0 => lock(tx, buckets.account, now)?,
        wait => return Ok(wait),
    };
    let wait = account.wait(now);
    if wait > 0 {
        // Locking the address created its row, if there was none.
        let unused = attempts::bucket.eq(buckets.address.as_slice()).and(attempts::failures.eq(0));
        diesel::delete(attempts::table.filter(unused)).execute(tx.conn)?;
        return Ok(wait);
    }
    count(tx, buckets.address, address, FREE_TRIES_PER_ADDRESS, now)?;
    count(tx, buckets.account, account, FREE_TRIES_PER_ACCOUNT, now)?;
    Ok(0)
}

/// Takes back the count of an attempt whose password was not compared.
pub fn take_back(tx: &mut Tx<'_>, buckets: &Buckets) -> Result<()> {
    let both = [buckets.address, buckets.account].map(|bucket| bucket.as_slice().to_vec());
    let counted = attempts::bucket.eq_any(both).and(attempts::failures.gt(0));
    diesel::update(attempts::table.filter(counted))
        .set((attempts::failures.eq(attempts::failures - 1), attempts::blocked_until.eq(attempts::last_at)))
        .execute(tx.conn)?;
    Ok(())
}

/// Forgets the account's attempts after a success, and takes back the address's count, so that the many
/// people behind one address don't slow each other down.
pub fn forgive_success(tx: &mut Tx<'_>, buckets: &Buckets) -> Result<()> {
    let address = attempts::bucket.eq(buckets.address.as_slice()).and(attempts::failures.gt(0));
    diesel::update(attempts::table.filter(address))
        .set((attempts::failures.eq(attempts::failures - 1), attempts::blocked_until.eq(attempts::last_at)))
        .execute(tx.conn)?;
    diesel::delete(attempts::table.find(buckets.account.as_slice())).execute(tx.conn)?;
    Ok(())
}

/// Forgets the attempts on an account whose password was replaced, so that its owner can sign in at once.
pub fn forgive_account(tx: &mut Tx<'_>, keys: &MacKey, person: &Person) -> Result<()> {
    let buckets = ThrottledAction::ALL.map(|act| act.account(keys, &person.email, "").as_slice().to_vec());
    diesel::delete(attempts::table.filter(attempts::bucket.eq_any(buckets))).execute(tx.conn)?;
    Ok(())
}

/// Records that a person proved their identity from this client. Every act of recovery forgets all of them.
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

/// Keeps the client from which someone secured their account known, if it was: the same as
/// [`remember_client`] under the new access generation. A stolen session makes no other client known.
pub fn keep_client(tx: &mut Tx<'_>, keys: &MacKey, person: &Person, client: &str, now: Time) -> Result<()> {
    if !is_known(tx.conn, known_client(keys, person, client))? {
        return Ok(());
    }
    let person = Person { access_generation: person.access_generation + 1, ..person.clone() };
    remember_client(tx, keys, &person, client, now)
}

/// The message for someone who has to wait.
pub fn wait_message(seconds: i64) -> String {
    let time = if seconds < 60 { format!("{seconds} s") } else { format!("{} min", (seconds + 59) / 60) };
    format!("Too many attempts. Wait {time} and try again.")
}

/// Deletes attempts that no longer matter and clients that have not been seen lately.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(attempts::table.filter(attempts::last_at.lt(now.plus(-HOUR)))).execute(tx.conn)?;
    diesel::delete(known_clients::table.filter(known_clients::seen_at.lt(now.plus(-KNOWN))))
        .execute(tx.conn)?;
    Ok(())
}

/// The attempts counted in a bucket.
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

    /// Whether the attempts still matter. A time in the future comes from a wrong clock and must keep no
    /// one out.
    fn is_recent(self, now: Time) -> bool {
        (-MINUTE..HOUR).contains(&now.since(self.last_at))
    }

    fn wait(self, now: Time) -> i64 {
        // Without a wait both times are equal, and may be later than the start of a slow attempt.
        let waits = self.is_recent(now) && self.blocked_until > now.max(self.last_at);
        if waits { self.blocked_until.since(now).max(1) } else { 0 }
    }
}

#[diesel::dsl::auto_type]
fn row(bucket: Digest) -> _ {
    let bucket: Vec<u8> = bucket.as_slice().to_vec();
    attempts::table.find(bucket).select((attempts::failures, attempts::last_at, attempts::blocked_until))
}

/// Locks a bucket until the transaction ends. Creates a missing row, so that there is something to lock, and
/// writes nothing otherwise.
fn lock(tx: &mut Tx<'_>, bucket: Digest, now: Time) -> Result<Bucket> {
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
        let bucket_row = match tx.conn {
            Conn::Postgres(conn) => row(bucket).for_update().first(conn).optional()?,
            // The transaction has locked everything already.
            Conn::Sqlite(conn) => row(bucket).first(conn).optional()?,
        };
        // A concurrent success may have deleted the row between the two statements.
        if let Some(bucket_row) = bucket_row {
            return Ok(Bucket::of(bucket_row));
        }
    }
}

fn count(tx: &mut Tx<'_>, bucket: Digest, bucket_row: Bucket, free: i64, now: Time) -> Result<()> {
    let (before, now) =
        if bucket_row.is_recent(now) { (bucket_row.failures, now.max(bucket_row.last_at)) } else { (0, now) };
    let tries = before + 1;
    let wait = if tries < free { 0 } else { LONGEST_WAIT.min(1 << (tries - free).min(20)) };
    // The database adds, so that no concurrent count is lost.
    let added = attempts::failures - bucket_row.failures + tries;
    diesel::update(attempts::table.find(bucket.as_slice()))
        .set((
            attempts::failures.eq(added),
            attempts::last_at.eq(now),
            attempts::blocked_until.eq(now.plus(wait)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// A known client belongs to one access generation: securing an account forgets it.
fn known_client(keys: &MacKey, person: &Person, client: &str) -> Digest {
    keys.digest(format!("known:{}:{}:{client}", person.id, person.access_generation).as_bytes())
}

fn is_known(conn: &mut Conn, digest: Digest) -> Result<bool> {
    let found: Option<Time> =
        known_clients::table.find(digest.as_slice()).select(known_clients::seen_at).first(conn).optional()?;
    Ok(found.is_some())
}
