//! The keys in memory: digest → key, so that a call with a key that was seen before asks no
//! database.
//!
//! What keeps it true:
//!
//! - Every change of a key is in the feed. A process takes the feed in after each commit of its
//!   own, before it answers, and many times a second for the commits of others. A feed that does not
//!   continue what was taken in, as after a fail-over that lost changes, empties the memory.
//! - Freshness belongs to the process, not to the entry: the lease ends a fixed time after the
//!   start of the last successful reading of the feed. Without it nobody is told yes.
//! - A key is read again some time after it was read, so that nothing that reaches the database
//!   without the feed stays unnoticed for long.
//! - A fill that raced a change is thrown away: it notes the round before it reads the database,
//!   and puts its entry only if the round is still the same, under the lock that a change takes
//!   to remove the entry. A change begins a new round before it removes entries.
//!
//! `model.rs` checks that in all orders of steps this never lets a revoked key through.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::Semaphore;

use crate::crypto::{Digest, Keyring, RootTag};
use crate::db::{Conn, Db, LogGuard};
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::feed::{self, Head, Since};
use crate::keys::presented::{self, Presented};
use crate::keys::roots;
use crate::keys::secret::PlainSecret;
use crate::task;
use crate::time::Time;
use crate::verify::strangers::Strangers;

/// How many keys are held. Past it, a random half is dropped.
const MAX_KNOWN: usize = 1_000_000;
/// How many digests that belong to no key are remembered.
const MAX_UNKNOWN: usize = 100_000;
/// For how long a key is held at least; at most for twice as long.
const HELD: Duration = Duration::from_secs(10 * 60);

/// What changes a process had taken in at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

/// A key in memory.
struct Held {
    key: Arc<Presented>,
    /// When it is to be read again.
    until: Instant,
}

/// The root secrets of this process.
struct Roots {
    own: RootTag,
    previous: Option<RootTag>,
    logs: Arc<LogGuard>,
}

/// The keys that this process has seen.
pub struct Table {
    started: Instant,
    staleness: Duration,
    roots: Option<Roots>,
    known: DashMap<Digest, Held>,
    unknown: DashMap<Digest, ()>,
    /// How often entries were removed for changes.
    rounds: AtomicU64,
    /// The head of the feed up to which changes were taken in.
    read: Mutex<Head>,
    /// When the lease ends, in microseconds after `started`.
    fresh_until: AtomicU64,
    strangers: Arc<Strangers>,
    /// Fills may not take all connections: the feed needs one, and so do pages.
    fills: Semaphore,
}

impl Table {
    /// Nothing known and nothing fresh: it answers from the first [`Table::catch_up`] on.
    pub fn new(staleness: Duration, db: &Db, started: Instant) -> Table {
        Table {
            started,
            staleness,
            roots: None,
            known: DashMap::new(),
            unknown: DashMap::new(),
            rounds: AtomicU64::new(0),
            read: Mutex::new(Head::unread()),
            fresh_until: AtomicU64::new(0),
            strangers: Arc::default(),
            fills: Semaphore::new((db.readers() / 2).max(1)),
        }
    }

    /// For a process that has these root secrets: it answers as long as the database belongs to one of them.
    pub fn with_roots(self, keyring: &Keyring, logs: Arc<LogGuard>) -> Table {
        let roots = Roots { own: keyring.root_tag(), previous: keyring.previous_root_tag(), logs };
        Table { roots: Some(roots), ..self }
    }

    /// Finds the key of a presented secret. A secret known only under the previous root secret
    /// of the installation is digested anew.
    ///
    /// Errors: unavailable when this process has not heard from the database for too long.
    pub async fn look_up(
        self: &Arc<Self>,
        db: &Db,
        keyring: &Keyring,
        secret: &PlainSecret,
        now: Instant,
    ) -> Result<Option<Arc<Presented>>> {
        let digest = secret.digest(&keyring.api_keys);
        self.require_fresh(now)?;
        if let Some(held) = self.known.get(&digest).filter(|held| now < held.until) {
            return Ok(Some(held.key.clone()));
        }
        if self.unknown.contains_key(&digest) {
            return Ok(None);
        }
        // Boxed, so that the many calls that end above don't carry its state about.
        Box::pin(self.ask(db, keyring, secret, digest, now)).await
    }

    async fn ask(
        self: &Arc<Self>,
        db: &Db,
        keyring: &Keyring,
        secret: &PlainSecret,
        digest: Digest,
        now: Instant,
    ) -> Result<Option<Arc<Presented>>> {
        let before = self.round();
        let digests = candidates(db, keyring, secret, digest);
        if !self.is_key(db, &digests).await? {
            self.fill(digest, None, before, now);
            return Ok(None);
        }
        let (table, db, keyring, secret) = (self.clone(), db.clone(), keyring.clone(), secret.clone());
        task::drive(async move {
            let _turn = table.fills.acquire().await.map_err(Error::internal)?;
            // The wait may have outlasted the lease; time has passed since `now`.
            let now = now.max(Instant::now());
            table.require_fresh(now)?;
            let before = table.round();
            let found = find(&db, &keyring, &secret, digests).await?.map(Arc::new);
            table.fill(digest, found.clone(), before, now);
            Ok(found)
        })
        .await
    }

    async fn is_key(&self, db: &Db, digests: &[Digest]) -> Result<bool> {
        for digest in digests {
            if self.strangers.is_key(db, *digest).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The round that it is, to be noted before the database is read.
    pub fn round(&self) -> Round {
        Round(self.rounds.load(SeqCst))
    }

    /// Remembers what the database said after `now`, unless a change came since `before`.
    pub fn fill(&self, digest: Digest, found: Option<Arc<Presented>>, before: Round, now: Instant) {
        match found {
            Some(key) => {
                if self.known.len() >= MAX_KNOWN {
                    // Digests are random, so this is a random half.
                    self.known.retain(|digest, _| digest[31] & 1 == 0);
                }
                let until = now + held_for(&digest);
                self.put(&self.known, digest, Held { key, until }, before);
            }
            None => {
                self.known.remove(&digest);
                if self.unknown.len() >= MAX_UNKNOWN {
                    self.unknown.clear();
                }
                self.put(&self.unknown, digest, (), before);
            }
        }
    }

    fn put<V>(&self, map: &DashMap<Digest, V>, digest: Digest, value: V, before: Round) {
        // The entry is locked until after the comparison, so that nobody sees one of an earlier
        // round: a change that comes now waits here before it removes what was put.
        let place = map.entry(digest);
        if self.round() == before {
            place.insert(value);
        }
    }

    /// Takes in what has changed and renews the lease, which counts from `began`, the instant
    /// before this call. Returns the position reached.
    pub fn catch_up(&self, conn: &mut Conn, began: Instant) -> Result<i64> {
        // Read before the head, so that a head below it can only mean an older database.
        let seen = self.read().clone();
        let head = feed::head(conn)?;
        self.follow_root(&head)?;
        let since = if self.is_fresh(began) { feed::since(conn, &seen, &head)? } else { Since::Unknown };
        match since {
            Since::Nothing => {}
            Since::Changed(changes) => self.forget(&changes),
            // Put back from a copy, failed over to one, or away for long: nothing that is held can
            // be relied on.
            Since::Unknown => self.forget_all(),
        }
        let position = head.position;
        let mut read = self.read();
        // Where another reading has come further meanwhile, it has taken in more than this one.
        if *read == seen || position > read.position {
            *read = head;
        }
        drop(read);
        self.fresh_until.fetch_max(self.microseconds(began + self.staleness), SeqCst);
        Ok(position)
    }

    /// Notes which of its root secrets the database belongs to. Error: unavailable if it is none of them; what is
    /// held here by a digest under another root secret can't be told from what has changed.
    fn follow_root(&self, head: &Head) -> Result<()> {
        let (Some(roots), Some(current)) = (&self.roots, &head.root) else { return Ok(()) };
        let is_own = current.as_slice() == roots.own.as_slice();
        if is_own || roots.previous.is_some_and(|previous| current.as_slice() == previous.as_slice()) {
            roots.logs.use_own(is_own);
            return Ok(());
        }
        self.lapse();
        let why = "the root secret of the database was replaced; restart this process with the new one";
        Err(Error::Unavailable(why.into()))
    }

    fn read(&self) -> MutexGuard<'_, Head> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the lease: for whoever knows of a change that could not be taken in.
    pub fn lapse(&self) {
        self.fresh_until.store(0, SeqCst);
    }

    fn forget(&self, changes: &[(KeyId, Digest)]) {
        self.rounds.fetch_add(1, SeqCst);
        for (_, digest) in changes {
            self.known.remove(digest);
            self.unknown.remove(digest);
        }
        // What is held by one digest may have the other in the database.
        if self.roots.as_ref().is_some_and(|roots| roots.previous.is_some()) {
            let changed: HashSet<KeyId> = changes.iter().map(|(key, _)| *key).collect();
            self.known.retain(|_, held| !changed.contains(&held.key.key));
        }
    }

    fn forget_all(&self) {
        self.rounds.fetch_add(1, SeqCst);
        self.known.clear();
        self.unknown.clear();
    }

    /// For how long the database has been silent, where that is too long to tell anyone yes.
    pub fn lapsed(&self, now: Instant) -> Option<Duration> {
        let until = self.fresh_until.load(SeqCst);
        let since = self.microseconds(now).checked_sub(until)?;
        Some(Duration::from_micros(since) + self.staleness)
    }

    fn require_fresh(&self, now: Instant) -> Result<()> {
        let away = "nothing was heard from the database for longer than KEYDESK_MAX_STALENESS";
        if self.is_fresh(now) { Ok(()) } else { Err(Error::Unavailable(away.into())) }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        self.microseconds(now) < self.fresh_until.load(SeqCst)
    }

    fn microseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}

/// For how long a key is held. Digests are random, so keys that were read together are not read
/// again together.
fn held_for(digest: &Digest) -> Duration {
    HELD + HELD * u32::from(digest[30]) / u32::from(u8::MAX)
}

/// The digests under which the database may have a secret. While the root secret is being replaced there
/// are two, the one that secrets leave first: whatever moves between two questions is found by the second.
fn candidates(db: &Db, keyring: &Keyring, secret: &PlainSecret, own: Digest) -> Vec<Digest> {
    let previous = keyring.api_keys_previous.as_ref().map(|previous| secret.digest(previous));
    let mut digests: Vec<Digest> = previous.into_iter().chain([own]).collect();
    if !db.logs().is_by_own() {
        digests.reverse();
    }
    digests
}

async fn find(
    db: &Db,
    keyring: &Keyring,
    secret: &PlainSecret,
    digests: Vec<Digest>,
) -> Result<Option<Presented>> {
    for digest in digests {
        let found = db.read_for_keys(move |conn| presented::by_digest(conn, &digest)).await?;
        let Some(key) = found else { continue };
        // Towards the root secret of the database alone, or processes would undo what others did.
        if digest != secret.digest(&keyring.api_keys) && db.logs().is_by_own() {
            #[expect(clippy::disallowed_methods, reason = "look-ups count from `Instant`s")]
            let now = Time::now();
            let (keyring, secret, found) = (keyring.clone(), secret.clone(), key.clone());
            db.write(move |tx| roots::redigest(tx, &keyring, &found, &secret, now)).await?;
        }
        return Ok(Some(key));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

    use super::*;
    use crate::crypto::Root;
    use crate::db::Location;
    use crate::verify::decision::tests::key;

    /// A key that is held, but that the database no longer knows: something other than Keydesk removed it.
    #[tokio::test]
    async fn key_is_read_again_after_a_while_although_no_change_was_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&Location::Sqlite(dir.path().join("keydesk.db"))).unwrap();
        let keyring = Keyring::new(Root::generate().unwrap(), None);
        let secret = PlainSecret::generate("kd").unwrap();
        let digest = secret.digest(&keyring.api_keys);
        let now = Instant::now();
        let table = Arc::new(Table::new(HELD * 3, &db, now));
        db.read_now(|conn| table.catch_up(conn, now)).unwrap();
        table.fill(digest, Some(Arc::new(key())), table.round(), now);
        let works = async |after| table.look_up(&db, &keyring, &secret, now + after).await.unwrap().is_some();
        assert!(works(HELD - Duration::from_secs(1)).await);
        assert!(!works(HELD * 2).await);
        assert!(!works(HELD * 2).await);
    }
}
