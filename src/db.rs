//! One database, SQLite or PostgreSQL, behind `read` and `write`.
//!
//! A write is one transaction: `BEGIN IMMEDIATE` with one writer on SQLite, read committed
//! on PostgreSQL, run again when the database reports a deadlock. Statements run on the
//! blocking threads of the runtime. A lost database gives [`Error::Unavailable`] and comes
//! back by itself: broken connections are thrown away and new ones made.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::sync::Notify;

use crate::error::{Error, Result};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// How long a call waits for a free connection before it answers that there is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// A connection used within this time is taken to be alive without asking it.
const FRESH: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 5;

mod conn {
    #![allow(missing_docs, reason = "the derive makes items that it gives no docs")]

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
    changes_keys: bool,
    queues_mail: bool,
}

impl Tx<'_> {
    /// Asks for [`Db::after_change`] to run once the transaction is committed.
    pub fn changes_keys(&mut self) {
        self.changes_keys = true;
    }

    /// Does the work of a change and undoes it: whoever measures can't tell it from the change.
    pub fn undo(&mut self, work: impl FnOnce(&mut Tx<'_>) -> Result<()>) -> Result<()> {
        use diesel::result::Error::RollbackTransaction;
        let mut done = Ok(());
        let undone = self.conn.transaction::<(), diesel::result::Error, _>(|conn| {
            done = work(&mut Tx { conn, changes_keys: false, queues_mail: false });
            Err(RollbackTransaction)
        });
        match undone {
            Ok(()) | Err(RollbackTransaction) => done,
            Err(error) => Err(error.into()),
        }
    }

    /// Asks for [`Db::mail_queued`] to return once the transaction is committed.
    pub fn queues_mail(&mut self) {
        self.queues_mail = true;
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
    writers: r2d2::Pool<Manager>,
    readers: r2d2::Pool<Manager>,
    after_change: Arc<OnceLock<AfterChange>>,
    mail_queued: Arc<Notify>,
    keys_changed: Arc<Notify>,
}

impl Db {
    /// Connects, and brings the tables up to date under a lock, so that several processes
    /// may start together.
    pub fn open(location: &Location) -> Result<Db> {
        migrate(&mut connect(location).map_err(Error::internal)?)?;
        let (writers, readers) = match location {
            Location::Sqlite(_) => (pool(location, 1)?, pool(location, SQLITE_READERS)?),
            Location::Postgres(_) => {
                let pool = pool(location, POSTGRES_CONNECTIONS)?;
                (pool.clone(), pool)
            }
        };
        Ok(Db {
            writers,
            readers,
            after_change: Arc::default(),
            mail_queued: Arc::default(),
            keys_changed: Arc::default(),
        })
    }

    /// How many connections there are for reading.
    pub fn readers(&self) -> usize {
        self.readers.max_size() as usize
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
        let pool = self.readers.clone();
        off_thread(move || lend(&pool, |conn| query(conn))).await
    }

    /// Runs `change` in one transaction and commits it. `change` may run several times and
    /// must have no other effect than through its transaction.
    pub async fn write<T, F>(&self, change: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T> + Send + 'static,
    {
        let db = self.clone();
        off_thread(move || db.write_now(change)).await
    }

    /// [`Db::write`] for callers that may block, such as the command line.
    pub fn write_now<T>(&self, change: impl FnMut(&mut Tx<'_>) -> Result<T>) -> Result<T> {
        lend(&self.writers, |conn| {
            let (value, asked) = transact(conn, change)?;
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
        lend(&self.readers, query)
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| Err(Error::internal(panic)))
}

fn lend<T>(pool: &r2d2::Pool<Manager>, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    let mut link = pool.get().map_err(|error| Error::Unavailable(error.into()))?;
    let result = work(&mut link.conn);
    link.broken = matches!(result, Err(Error::Unavailable(_)));
    link.used = Instant::now();
    result
}

/// What a change asked for once it is committed.
struct Asked {
    changes_keys: bool,
    queues_mail: bool,
}

/// The result of the change, and what it asked for.
fn transact<T>(conn: &mut Conn, mut change: impl FnMut(&mut Tx<'_>) -> Result<T>) -> Result<(T, Asked)> {
    let mut attempt = 1;
    loop {
        begin(conn)?;
        let mut tx = Tx { conn, changes_keys: false, queues_mail: false };
        let result = change(&mut tx);
        let asked = Asked { changes_keys: tx.changes_keys, queues_mail: tx.queues_mail };
        let result = result.and_then(|value| {
            each!(conn, |c| AnsiTransactionManager::commit_transaction(c))?;
            Ok((value, asked))
        });
        let Err(error) = result else { return result };
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

fn begin(conn: &mut Conn) -> QueryResult<()> {
    match conn {
        // A deferred transaction that reads first and writes later fails when another has
        // written in between; an immediate one waits for its turn instead.
        Conn::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE"),
        Conn::Postgres(c) => AnsiTransactionManager::begin_transaction(c),
    }
}

fn migrate(conn: &mut Conn) -> Result<()> {
    let failed = |error| Error::internal(format!("the tables can't be brought up to date: {error}"));
    match conn {
        Conn::Sqlite(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?;
            c.run_pending_migrations(SQLITE_MIGRATIONS).map_err(failed)?;
            AnsiTransactionManager::commit_transaction(c)?;
        }
        Conn::Postgres(c) => {
            // Any number that no other program uses; the lock ends with the connection.
            c.batch_execute("SELECT pg_advisory_lock(7307220)")?;
            c.run_pending_migrations(POSTGRES_MIGRATIONS).map_err(failed)?;
            c.batch_execute("SELECT pg_advisory_unlock(7307220)")?;
        }
    }
    Ok(())
}

fn pool(location: &Location, size: u32) -> Result<r2d2::Pool<Manager>> {
    r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .test_on_check_out(true)
        .connection_timeout(PATIENCE)
        .error_handler(Box::new(LogQuietly))
        .build(Manager { location: Arc::new(location.clone()) })
        .map_err(|error| Error::Unavailable(error.into()))
}

fn connect(location: &Location) -> ConnectionResult<Conn> {
    match location {
        Location::Sqlite(path) => open_sqlite(path).map(Conn::Sqlite),
        Location::Postgres(url) => {
            let mut conn = PgConnection::establish(url)?;
            conn.batch_execute("SET statement_timeout = '30s'; SET lock_timeout = '10s'")
                .map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(Conn::Postgres(conn))
        }
    }
}

fn open_sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    let path = path.to_str().ok_or_else(|| ConnectionError::BadConnection("the path is not UTF-8".into()))?;
    // What lies in it is nobody else's; its log files take its mode. A file that is there already is
    // never opened here: closing it would end the locks that this process holds on it (POSIX), and
    // whoever looked at the database next would delete the log into which this process writes.
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(ConnectionError::BadConnection(error.to_string()));
        }
        _ => {}
    }
    let mut conn = SqliteConnection::establish(path)?;
    conn.batch_execute("PRAGMA busy_timeout = 10000").map_err(ConnectionError::CouldntSetupConfiguration)?;
    switch_to_wal(&mut conn).map_err(ConnectionError::CouldntSetupConfiguration)?;
    conn.batch_execute(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -8000; \
         PRAGMA temp_store = MEMORY;",
    )
    .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// SQLite does not wait for its time-out where two processes switch a new file at once, so
/// whoever comes second tries again.
fn switch_to_wal(conn: &mut SqliteConnection) -> QueryResult<()> {
    let began = Instant::now();
    loop {
        match conn.batch_execute("PRAGMA journal_mode = WAL") {
            Err(DieselError::DatabaseError(_, information))
                if information.message().contains("database is locked") && began.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        if is_lost(&error) { Error::Unavailable(error.into()) } else { Error::Internal(error.into()) }
    }
}

/// Whether the error says that the database is away or too busy, rather than that the
/// statement is wrong.
fn is_lost(error: &DieselError) -> bool {
    const SIGNS: [&str; 14] = [
        "server closed the connection",
        "terminating connection",
        "connection to server",
        "no connection to the server",
        "could not receive data",
        "SSL connection has been closed",
        "the database system is",
        "lock timeout",
        "statement timeout",
        "too many clients",
        "disk I/O error",
        "database is locked",
        "unable to open database",
        "database or disk is full",
    ];
    match error {
        DieselError::BrokenTransactionManager => true,
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        ) => true,
        DieselError::DatabaseError(_, information) => {
            SIGNS.iter().any(|sign| information.message().contains(sign))
        }
        _ => false,
    }
}

/// Whether the error is a violation of the unique index of this name. `table_column` is what
/// SQLite says instead, as `table.column`.
pub fn violates(error: &DieselError, index: &str, table_column: &str) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information) => {
            information.constraint_name() == Some(index) || information.message().contains(table_column)
        }
        _ => false,
    }
}

fn is_deadlock(error: &Error) -> bool {
    let (Error::Internal(cause) | Error::Unavailable(cause)) = error else {
        return false;
    };
    match cause.downcast_ref::<DieselError>() {
        Some(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
        Some(DieselError::DatabaseError(_, information)) => {
            information.message().contains("deadlock detected")
        }
        _ => false,
    }
}

struct Manager {
    location: Arc<Location>,
}

/// A pooled connection with what is known of its health.
struct Link {
    conn: Conn,
    broken: bool,
    used: Instant,
}

impl r2d2::ManageConnection for Manager {
    type Connection = Link;
    type Error = Lost;

    fn connect(&self) -> Result<Link, Lost> {
        let conn = connect(&self.location).map_err(|error| Lost(error.to_string()))?;
        Ok(Link { conn, broken: false, used: Instant::now() })
    }

    fn is_valid(&self, link: &mut Link) -> Result<(), Lost> {
        if link.used.elapsed() < FRESH {
            return Ok(());
        }
        link.conn.batch_execute("SELECT 1").map_err(|error| Lost(error.to_string()))
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.broken
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Lost(String);

#[derive(Debug)]
struct LogQuietly;

impl r2d2::HandleError<Lost> for LogQuietly {
    fn handle_error(&self, error: Lost) {
        tracing::warn!(%error, "the database can't be reached");
    }
}
