//! One database, SQLite or PostgreSQL, behind `read` and `write`.
//!
//! A write is one transaction: `BEGIN IMMEDIATE` with one writer on SQLite, read committed
//! on PostgreSQL, run again when the database reports a deadlock. Statements run on the
//! blocking threads of the runtime. A lost database gives [`Error::Unavailable`], or
//! [`Error::Unconfirmed`] if it was lost during a commit, and comes back by itself: broken connections are thrown away and new ones made.

mod addresses;
mod compatibility;
mod connect;
mod fault;
mod guard;
mod lane;
mod line;
mod postgres;
mod snapshot;
mod statistics;
mod turns;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::schema::members;
use crate::task;

use self::connect::{connect, migrate};
pub use self::fault::{each_readable, violates};
use self::fault::{is_cut_off, is_deadlock, is_lost};
pub use self::guard::{LogGuard, Mark};
use self::lane::{Lane, lend};
use self::line::Lines;
pub use self::line::{Asker, Line};
pub use self::snapshot::snapshot;
use self::turns::Turns;

const SQLITE_READERS: u32 = 4;
/// Connections to PostgreSQL for pages and changes, unless another number is asked for.
const POSTGRES_CONNECTIONS: u32 = 16;
/// Look-ups of keys that go on at once. They have connections of their own, so that they never wait for
/// people's pages.
const LOOK_UPS: u32 = 3;
/// How long one may take. A connection that hangs is left to itself, and others take its place.
const LOOK_UP_PATIENCE: Duration = Duration::from_secs(3);
/// The same of readings of the feed: nothing must keep a process from hearing of revocations.
const FEED_PATIENCE: Duration = Duration::from_secs(1);
/// Connections beside those in use that may hang before others have to wait for their end.
const SPARE: u32 = 8;
const ATTEMPTS: u32 = 5;

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

/// An open transaction. Only [`Db::write`] makes one.
pub struct Tx<'a> {
    /// The connection on which the transaction is open.
    pub conn: &'a mut Conn,
    /// The key and the marks of audit logs.
    pub logs: &'a LogGuard,
    asked: Asked,
}

impl Tx<'_> {
    /// Asks for [`Db::after_change`] to run once the transaction is committed.
    pub fn changes_keys(&mut self) {
        self.asked.changes_keys = true;
    }

    /// Waits until no other process changes this organisation, and keeps that so until the transaction
    /// ends. Unlike row locks, PostgreSQL grants these in the order of the requests, so waiting is bounded by
    /// the length of the queue, and changes that run one after the other can't deadlock. On SQLite, the
    /// transaction itself is exclusive.
    pub fn take_turn(&mut self, org: OrgId) -> Result<()> {
        if let Conn::Postgres(conn) = self.conn {
            let number =
                org.bytes().iter().fold(0, |number: i64, byte| number.rotate_left(8) ^ i64::from(*byte));
            diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
                .bind::<diesel::sql_types::BigInt, _>(number)
                .execute(conn)?;
        }
        Ok(())
    }

    /// [`Tx::take_turn`] in each organisation of a person, because changes of their account are recorded in all
    /// of its logs. Call it before locking any row, so that everyone acquires the locks in the same order.
    pub fn take_turns_of(&mut self, person: UserId) -> Result<()> {
        if matches!(self.conn, Conn::Postgres(_)) {
            let orgs = members::table.filter(members::person_id.eq(person)).order(members::org_id);
            for org in orgs.select(members::org_id).load(self.conn)? {
                self.take_turn(org)?;
            }
        }
        Ok(())
    }

    /// Does the work of a change and undoes it: whoever measures can't tell it from the change.
    pub fn undo(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        use diesel::result::Error::RollbackTransaction;
        let mut done = Ok(());
        let logs = self.logs;
        let undone = self.conn.transaction::<(), diesel::result::Error, _>(|conn| {
            done = work(&mut Tx { conn, logs, asked: Asked::default() });
            Err(RollbackTransaction)
        });
        match undone {
            Ok(()) | Err(RollbackTransaction) => done,
            Err(error) => Err(error.into()),
        }
    }

    /// Notes how far a log has grown, once the transaction is committed.
    pub fn note_log(&mut self, org: OrgId, mark: Mark) {
        self.asked.logs.push((org, mark));
    }

    /// Notes which register of logs is in force, once the transaction is committed.
    pub fn note_epoch(&mut self, epoch: i64) {
        self.asked.epoch = self.asked.epoch.max(epoch);
    }

    /// Asks for [`Db::mail_queued`] to return once the transaction is committed.
    pub fn queues_mail(&mut self) {
        self.asked.queues_mail = true;
    }
}

/// What is to be done after the commit of a change of keys, before the change is answered.
pub type AfterChange = Box<dyn Fn(&mut Conn) + Send + Sync>;

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Location {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A `postgres://` URL. It may hold a password and is not to be logged.
    Postgres(String),
}

/// The database: cheap to clone, shared by all threads.
#[derive(Clone)]
pub struct Db {
    writers: Lane,
    readers: Lane,
    for_keys: Lane,
    for_feed: Lane,
    turns: Arc<Turns>,
    lines: Arc<Lines>,
    logs: Arc<LogGuard>,
    after_change: Arc<OnceLock<AfterChange>>,
    mail_queued: Arc<Notify>,
    keys_changed: Arc<Notify>,
}

impl Db {
    /// Connects, and brings the tables up to date under a lock, so that several processes
    /// may start together.
    pub fn open(location: &Location) -> Result<Db> {
        Db::open_with(location, POSTGRES_CONNECTIONS)
    }

    /// [`Db::open`] with so many connections for pages and changes, on PostgreSQL.
    pub fn open_with(location: &Location, connections: u32) -> Result<Db> {
        migrate(&mut connect(location).map_err(Error::internal)?)?;
        let (writers, readers) = match location {
            Location::Sqlite(_) => (Lane::new(location, 1)?, Lane::new(location, SQLITE_READERS)?),
            Location::Postgres(_) => {
                let lane = Lane::new(location, connections)?;
                (lane.clone(), lane)
            }
        };
        Ok(Db {
            writers,
            readers,
            for_keys: Lane::with_spare(location, LOOK_UPS, SPARE)?,
            for_feed: Lane::with_spare(location, 1, SPARE)?,
            turns: Arc::default(),
            lines: Arc::default(),
            logs: Arc::default(),
            after_change: Arc::default(),
            mail_queued: Arc::default(),
            keys_changed: Arc::default(),
        })
    }

    /// Waits until the database answers, at most so long. Says so each second.
    pub fn await_answer(location: &Location, patience: Duration) {
        let began = Instant::now();
        while let Err((cause, may_come)) = connect::reach(location) {
            if !may_come || began.elapsed() >= patience {
                // Opening it says why it fails.
                return;
            }
            tracing::warn!(%cause, "waiting for the database");
            std::thread::sleep(Duration::from_secs(1).min(patience.saturating_sub(began.elapsed())));
        }
    }

    /// How many connections there are for reading.
    pub fn readers(&self) -> usize {
        self.readers.size()
    }

    /// The key and the marks of audit logs.
    pub fn logs(&self) -> &Arc<LogGuard> {
        &self.logs
    }

    /// Sets, once, what is done after each commit that changes keys.
    pub fn after_change(&self, act: AfterChange) {
        // A second call is one too many and changes nothing.
        let _ = self.after_change.set(act);
    }

    /// Returns when a mail was queued by this process since the last return.
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

    /// [`Db::read`] on connections of its own, for hearing of changes to keys. It takes a second at most; a
    /// connection that hangs is left to itself.
    pub async fn read_feed<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        self.for_feed.clone().within(FEED_PATIENCE, move |pool| lend(pool, query)).await
    }

    /// [`Db::read`] for what may take long, when it is the organisation's turn.
    pub async fn read_long<T, F>(&self, org: OrgId, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Conn) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        task::drive(async move {
            let turn = db.turns.take(org).await?;
            let query = move |conn: &mut Conn| {
                // It ends with the read: who hangs up stops waiting, and the read goes on.
                let _turn = turn;
                query(conn)
            };
            db.read(query).await
        })
        .await
    }

    /// Runs `change` in one transaction and commits it. `change` may run several times and
    /// must have no other effect than through its transaction.
    pub async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        self.writers.clone().off_thread(move |_| db.write_now(change)).await
    }

    /// [`Db::write`] when it is the turn of `asker` in a line.
    pub async fn write_in_turn<T, F>(&self, line: Line, asker: Asker, mut change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        task::drive(async move {
            let turn = db.lines.take(line, asker).await?;
            let change = move |tx: &mut Tx<'_>| {
                // It ends with the change: who hangs up stops waiting, and the change goes on.
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
            let (value, asked) = transact(conn, &self.logs, change)?;
            for (org, mark) in asked.logs {
                self.logs.note(org, mark);
            }
            self.logs.saw_epoch(asked.epoch);
            if asked.changes_keys
                && let Some(act) = self.after_change.get()
            {
                act(conn);
            }
            if asked.changes_keys {
                self.keys_changed.notify_one();
            }
            if asked.queues_mail {
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

/// What a change asked for once it is committed.
#[derive(Default)]
struct Asked {
    changes_keys: bool,
    queues_mail: bool,
    logs: Vec<(OrgId, Mark)>,
    epoch: i64,
}

/// The result of the change, and what it asked for.
fn transact<T>(
    conn: &mut Conn,
    logs: &LogGuard,
    mut change: impl FnMut(&mut Tx<'_>) -> Result<T>,
) -> Result<(T, Asked)> {
    let mut attempt = 1;
    loop {
        begin(conn)?;
        let mut tx = Tx { conn, logs, asked: Asked::default() };
        let result = change(&mut tx);
        let asked = tx.asked;
        let result = result.and_then(|value| {
            each!(conn, |c| AnsiTransactionManager::commit_transaction(c)).map_err(commit_failed)?;
            Ok((value, asked))
        });
        let Err(error) = result else { return result };
        if matches!(error, Error::Unconfirmed(_)) {
            return Err(error);
        }
        // After a failed commit there may be nothing left to roll back.
        let rolled_back = each!(conn, |c| AnsiTransactionManager::rollback_transaction(c));
        if let Err(cause) = rolled_back
            && is_lost(&cause)
        {
            return Err(Error::Unavailable(cause.into()));
        }
        if attempt == ATTEMPTS || !is_deadlock(&error) {
            return Err(error);
        }
        attempt += 1;
    }
}

/// A database that is lost while it commits may have committed.
fn commit_failed(error: diesel::result::Error) -> Error {
    if is_cut_off(&error) { Error::Unconfirmed(error.into()) } else { error.into() }
}

fn begin(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        // A deferred transaction that reads first and writes later fails when another has
        // written in between; an immediate one waits for its turn instead.
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction(c),
    }
}
