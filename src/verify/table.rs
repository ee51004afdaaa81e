//! The keys in memory, by digest, so that a request with a known key needs no database.
//!
//! What keeps them correct:
//!
//! - Every change of a key is in the feed. A process reads the feed after each commit of its own, before it
//!   answers, and many times a second for the commits of others. If the feed does not continue what was read, as
//!   after a fail-over that lost changes, the process forgets all keys.
//! - Freshness belongs to the process, not to the entry: the lease ends a fixed time after the start of the last
//!   successful read of the feed. Without a lease no key is accepted.
//! - Each key is read again after a while, which limits the effect of a change that bypassed the feed.
//! - A fill that raced with a change is discarded: it notes the round before it reads the database, and stores its
//!   entry only if the round is still the same, under the lock that a change takes to remove the entry. A change
//!   begins a new round before it removes entries.
//!
//! `model.rs` checks that no order of these steps lets a revoked key through.

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
use crate::keys::lookup::PresentedKey;
use crate::keys::secret::PlainSecret;
use crate::task;
use crate::verify::lease::Lease;
use crate::verify::look_up::{candidates, find};
use crate::verify::strangers::Strangers;

/// The most keys in memory. Beyond it, a random half is dropped.
const MAX_KNOWN: usize = 1_000_000;
/// The most digests without a key in memory.
const MAX_UNKNOWN: usize = 100_000;
/// How long a key is kept at least; at most twice as long.
const HELD: Duration = Duration::from_secs(10 * 60);

/// Identifies the changes that a process has taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(u64);

struct CachedKey {
    key: Arc<PresentedKey>,
    /// When it is read again.
    until: Instant,
}

struct Roots {
    own: RootTag,
    previous: Option<RootTag>,
    logs: Arc<LogGuard>,
}

/// The keys in memory.
pub struct Table {
    lease: Lease,
    roots: Option<Roots>,
    known: DashMap<Digest, CachedKey>,
    unknown: DashMap<Digest, ()>,
    /// How often entries were removed because of changes.
    rounds: AtomicU64,
    /// How far the feed was read.
    read: Mutex<Head>,
    strangers: Arc<Strangers>,
    /// Limits fills, which would otherwise occupy all connections.
    fills: Semaphore,
}

impl Table {
    /// An empty table without a lease: it answers after the first [`Table::catch_up`].
    pub fn new(staleness: Duration, db: &Db, started: Instant) -> Table {
        Table {
            lease: Lease::new(staleness, started),
            roots: None,
            known: DashMap::new(),
            unknown: DashMap::new(),
            rounds: AtomicU64::new(0),
            read: Mutex::new(Head::unread()),
            strangers: Arc::default(),
            fills: Semaphore::new((db.readers() / 2).max(1)),
        }
    }

    /// With the root secrets of the process: it answers as long as the database belongs to one of them.
    pub fn with_roots(self, keyring: &Keyring, logs: Arc<LogGuard>) -> Table {
        let roots = Roots { own: keyring.root_tag(), previous: keyring.previous_root_tag(), logs };
        Table { roots: Some(roots), ..self }
    }

    /// Finds the key of a presented secret. A secret that is stored under the previous root secret is digested again
    /// under the current one.
    ///
    /// Error: `Unavailable` without a lease.
    pub async fn look_up(
        self: &Arc<Self>,
        db: &Db,
        keyring: &Keyring,
        secret: &PlainSecret,
        now: Instant,
    ) -> Result<Option<Arc<PresentedKey>>> {
        let digest = secret.digest(&keyring.api_keys);
        self.require_fresh(now)?;
        if let Some(held) = self.known.get(&digest).filter(|held| now < held.until) {
            return Ok(Some(held.key.clone()));
        }
        if self.unknown.contains_key(&digest) {
            return Ok(None);
        }
        // Boxed, so that the many calls that return above don't carry its state.
        Box::pin(self.ask(db, keyring, secret, digest, now)).await
    }

    async fn ask(
        self: &Arc<Self>,
        db: &Db,
        keyring: &Keyring,
        secret: &PlainSecret,
        digest: Digest,
        now: Instant,
    ) -> Result<Option<Arc<PresentedKey>>> {
        let before = self.round();
        let digests = candidates(db, keyring, secret, digest);
        if !self.is_key(db, &digests).await? {
            self.fill(digest, None, before, now);
            return Ok(None);
        }
        let (table, db, keyring, secret) = (self.clone(), db.clone(), keyring.clone(), secret.clone());
        task::drive(async move {
            let _turn = table.fills.acquire().await.map_err(Error::internal)?;
            // The lease may have ended while this waited.
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

    /// The current round.
    pub fn round(&self) -> Round {
        Round(self.rounds.load(SeqCst))
    }

    /// Stores what the database returned after `now`, unless there was a change since `before`.
    pub fn fill(&self, digest: Digest, found: Option<Arc<PresentedKey>>, before: Round, now: Instant) {
        match found {
            Some(key) => {
                if self.known.len() >= MAX_KNOWN {
                    // Digests are random, so this is a random half.
                    self.known.retain(|digest, _| digest[31] & 1 == 0);
                }
                let until = now + held_for(&digest);
                self.put(&self.known, digest, CachedKey { key, until }, before);
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
        // The entry is locked until after the comparison, so that no one sees one of an earlier round: a change
        // waits here before it removes the entry.
        let place = map.entry(digest);
        if self.round() == before {
            place.insert(value);
        }
    }

    /// Reads the feed, forgets changed keys, renews the lease from `began` on, and returns the position reached.
    pub fn catch_up(&self, conn: &mut Conn, began: Instant) -> Result<i64> {
        // Read before the head, so that a head below it can only mean an older database.
        let seen = self.read().clone();
        let head = feed::head(conn)?;
        self.follow_root(&head)?;
        let since =
            if self.lease.is_fresh(began) { feed::since(conn, &seen, &head)? } else { Since::Unknown };
        match since {
            Since::Nothing => {}
            Since::Changed(changes) => self.forget(&changes),
            // After a restore, a fail-over or a long absence, nothing in memory can be relied on.
            Since::Unknown => self.forget_all(),
        }
        let position = head.position;
        let mut read = self.read();
        // Another thread may have read further meanwhile.
        if *read == seen || position > read.position {
            *read = head;
        }
        drop(read);
        self.lease.renew(began);
        Ok(position)
    }

    /// Notes which of its root secrets the database belongs to. Error: `Unavailable` if it is neither, because the
    /// digests in memory no longer match those of the database.
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

    /// Ends the lease, after a change that could not be taken in.
    pub fn lapse(&self) {
        self.lease.end();
    }

    fn forget(&self, changes: &[(KeyId, Digest)]) {
        self.rounds.fetch_add(1, SeqCst);
        for (_, digest) in changes {
            self.known.remove(digest);
            self.unknown.remove(digest);
        }
        // The digest in the database may be the other one.
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

    /// How long the database has been silent; `None` while the lease lasts.
    pub fn lapsed(&self, now: Instant) -> Option<Duration> {
        self.lease.lapsed(now)
    }

    fn require_fresh(&self, now: Instant) -> Result<()> {
        let away = "nothing was heard from the database for longer than KEYDESK_MAX_STALENESS";
        if self.lease.is_fresh(now) { Ok(()) } else { Err(Error::Unavailable(away.into())) }
    }
}

/// How long a key is kept. Digests are random, so keys that were read together are not read again together.
fn held_for(digest: &Digest) -> Duration {
    HELD + HELD * u32::from(digest[30]) / u32::from(u8::MAX)
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
    async fn cached_key_is_reread_after_a_while_without_a_change() {
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
