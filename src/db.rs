//! One database, SQLite or PostgreSQL, behind `read` and `write`.
//!
//! A write is one transaction: `BEGIN IMMEDIATE` with one writer on SQLite, read committed on PostgreSQL, run again
//! after a deadlock. Statements run on the blocking threads of the runtime. A lost database gives
//! [`Error::Unavailable`], or [`Error::Unconfirmed`] if it was lost during a commit. Broken connections are replaced,
//! so Keydesk recovers by itself.

mod addresses;
mod change_queue;
mod compatibility;
mod connect;
mod fault;
mod guard;
mod long_reads;
mod names;
mod postgres;
mod queued_pool;
mod snapshot;
mod statistics;
mod suitability;
mod tx;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::task;

use self::change_queue::ChangeQueues;
pub use self::change_queue::{QueueKey, Requester};
use self::connect::open;
pub use self::fault::{each_readable, violates};
pub use self::guard::{LogGuard, Mark};
use self::long_reads::LongReads;
use self::queued_pool::{QueuedPool, lend};
pub use self::snapshot::snapshot;
pub use self::suitability::Unsuitable;
pub use self::tx::Tx;
use self::tx::transact;

const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL for pages and changes by default.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Concurrent look-ups of keys. They have connections of their own, so that they never wait for pages.
const LOOK_UPS: u32 = 3;
/// How long a look-up may take. After that its connection is abandoned, and another takes its place.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(3);
/// How long reading the feed may take: a process must hear of revocations.
const FEED_PATIENCE: Duration = Duration::from_secs(1);
/// Abandoned connections that may hang before further work has to wait for them.
const SPARE: u32 = 8;

mod conn {
    use diesel::{PgConnection, SqliteConnection};

    /// A connection to either database.
    #[derive(diesel::MultiConnection)]
    pub enum Conn {
        /// PostgreSQL.
        Postgres(PgConnection),
        /// SQLite.
        Sqlite(SqliteConnection),
    }
}
pub use conn::Conn;

/// Runs the same diesel statement on either database, for the few that
/// `MultiConnection` lacks: `ON CONFLICT` and batch inserts.
macro_rules! each {
    ($conn:expr, |$c:ident| $body:expr) => {
        match $conn {
            $crate::db::Conn::Postgres($c) => $body,
            $crate::db::Conn::Sqlite($c) => $body,
        }
    };
}
pub(crate) use each;

/// Runs after the commit of a change of keys, before the change is answered.
pub type AfterChange = Box<dyn Fn(&mut Conn) + Send + Sync>;

/// The location of the database.
#[derive(Clone, Debug)]
pub enum Location {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A `postgres://` URL. It may contain a password and must not be logged.
    Postgres(String),
}

/// The database: cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Db {
    writers: QueuedPool,
    readers: QueuedPool,
    for_keys: QueuedPool,
    for_feed: QueuedPool,
    long_reads: Arc<LongReads>,
    change_queues: Arc<ChangeQueues>,
    logs: Arc<LogGuard>,
    after_change: Arc<OnceLock<AfterChange>>,
    mail_queued: Arc<Notify>,
    keys_changed: Arc<Notify>,
}

impl Db {
    /// Connects, refuses an unsuitable database ([`Unsuitable`]), and migrates the tables under a lock, so that several
    /// processes may start together.
    pub fn open(location: &Location) -> Result<Db> {
        Db::open_with(location, POSTGRES_CONNECTIONS)
    }

    /// [`Db::open`] with this many connections to PostgreSQL for pages and changes.
    pub fn open_with(location: &Location, connections: u32) -> Result<Db> {
        open(location)?;
        let (writers, readers) = match location {
            Location::Sqlite(_) => {
                (QueuedPool::new(location, 1)?, QueuedPool::new(location, SQLITE_READERS)?)
            }
            Location::Postgres(_) => {
                let pool = QueuedPool::new(location, connections)?;
                (pool.clone(), pool)
            }
        };
        Ok(Db {
            writers,
            readers,
            for_keys: QueuedPool::with_spare(location, LOOK_UPS, SPARE)?,
            for_feed: QueuedPool::with_spare(location, 1, SPARE)?,
            long_reads: Arc::default(),
            change_queues: Arc::default(),
            logs: Arc::default(),
            after_change: Arc::default(),
            mail_queued: Arc::default(),
            keys_changed: Arc::default(),
        })
    }

    /// Waits until the database answers, for at most `patience`, and logs that each second.
    pub fn await_answer(location: &Location, patience: Duration) {
        let began = Instant::now();
        while let Err((cause, may_come)) = connect::reach(location) {
            if !may_come || began.elapsed() >= patience {
                // Opening it fails with the reason.
                return;
            }
            tracing::warn!(%cause, "waiting for the database");
            std::thread::sleep(Duration::from_secs(1).min(patience.saturating_sub(began.elapsed())));
        }
    }

    /// The number of connections for reading.
    pub fn readers(&self) -> usize {
        self.readers.size()
    }

    /// The key and the marks of audit logs.
    pub fn logs(&self) -> &Arc<LogGuard> {
        &self.logs
    }

    /// Sets what runs after each commit that changes keys. Only the first call has an effect.
    pub fn after_change(&self, act: AfterChange) {
        let _ = self.after_change.set(act);
    }

    /// Returns when this process has queued an e-mail since the last return.
    pub async fn mail_queued(&self) {
        self.mail_queued.notified().await;
    }

    /// Returns when this process has changed keys since the last return.
    pub async fn keys_changed(&self) {
        self.keys_changed.notified().await;
    }

    /// Runs queries outside a transaction.
    pub async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        self.readers.clone().off_thread(move |pool| lend(pool, query)).await
    }

    /// [`Db::read`] on connections of its own, for looking up keys.
    pub async fn read_for_keys<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        self.for_keys.clone().within(LOOK_UP_PATIENCE, move |pool| lend(pool, query)).await
    }

    /// [`Db::read`] on connections of its own, for the feed of changed keys. It takes a second at most; after that
    /// its connection is abandoned.
    pub async fn read_feed<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        self.for_feed.clone().within(FEED_PATIENCE, move |pool| lend(pool, query)).await
    }

    /// [`Db::read`] for long reads, when it is the organisation's turn.
    pub async fn read_long<T, F>(&self, org: OrgId, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        task::drive(async move {
            let turn = db.long_reads.take(org).await?;
            let query = move |conn: &mut Conn| {
                // Held until the read ends, even if the client disconnects.
                let _turn = turn;
                query(conn)
            };
            db.read(query).await
        })
        .await
    }

    /// Runs `change` in one transaction and commits it. `change` may run several times, so it must have no effect
    /// but through its transaction.
    pub async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        self.writers.clone().off_thread(move |_| db.write_now(change)).await
    }

    /// [`Db::write`] when it is the turn of `requester` in the queue for `key`.
    pub async fn write_in_turn<T, F>(&self, key: QueueKey, requester: Requester, mut change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        task::drive(async move {
            let turn = db.change_queues.take(key, requester).await?;
            let change = move |tx: &mut Tx<'_>| {
                // Held until the change ends, even if the client disconnects.
                let _turn = &turn;
                change(tx)
            };
            db.write(change).await
        })
        .await
    }

    /// [`Db::write`] for callers that may block, such as the command line.
    pub fn write_now<T>(&self, mut change: impl FnMut(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        let mut value = None;
        self.commit(&mut |tx| {
            value = Some(change(tx)?);
            Ok(())
        })?;
        value.ok_or_else(|| Error::internal("the change returned no value"))
    }

    /// Does not depend on the type of the change, so it is compiled only once.
    fn commit(&self, change: &mut dyn FnMut(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        lend(self.writers.pool(), |conn| {
            let (value, after) = transact(conn, &self.logs, change)?;
            for (org, mark) in after.logs {
                self.logs.note(org, mark);
            }
            self.logs.saw_epoch(after.epoch);
            if after.changes_keys
                && let Some(act) = self.after_change.get()
            {
                act(conn);
            }
            if after.changes_keys {
                self.keys_changed.notify_one();
            }
            if after.queues_mail {
                self.mail_queued.notify_one();
            }
            Ok(value)
        })
    }

    /// [`Db::read`] for callers that may block, such as the command line.
    pub fn read_now<T>(&self, query: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        lend(self.readers.pool(), query)
    }
}
