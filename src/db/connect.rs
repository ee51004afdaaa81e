//! Makes connections, keeps them in pools, and migrates the tables.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diesel::connection::{AnsiTransactionManager, SimpleConnection, TransactionManager};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Bool, Nullable};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::db::suitability::{self, Unsuitable};
use crate::db::{Conn, Location, addresses, compatibility, names, postgres, statistics};
use crate::error::{Error, Result};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// An index of a kind that SQLite lacks, so it is not part of the migrations.
const TRIGRAMS: &str = include_str!("trigrams.sql");

/// How long a request waits for a free connection before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A connection used within this time counts as alive without a check.
const FRESH: Duration = Duration::from_secs(1);

/// Connects to a database that may not have the tables yet, refuses it if it is unsuitable, and migrates the tables.
pub(super) fn open(location: &Location) -> Result<()> {
    match location {
        Location::Sqlite(path) => {
            let opened = suitability::check_sqlite(path)
                .and_then(|()| migrate(&mut connect(location).map_err(Error::internal)?));
            opened.map_err(suitability::explain_sqlite)
        }
        Location::Postgres(_) => {
            let again = || connect(location).map_err(Error::internal);
            let (mut conn, mut other) = (again()?, again()?);
            if let (Conn::Postgres(conn), Conn::Postgres(other)) = (&mut conn, &mut other) {
                suitability::check_postgres(conn, other)?;
            }
            drop(other);
            migrate(&mut conn)
        }
    }
}

pub(super) fn migrate(conn: &mut Conn) -> Result<()> {
    let failed = |error| Error::internal(format!("the tables can't be migrated: {error}"));
    let versions = match conn {
        Conn::Sqlite(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?;
            compatibility::versions(c, SQLITE_MIGRATIONS)?
        }
        Conn::Postgres(c) => {
            // Migrating large tables takes long, and so does waiting for another process to do it.
            c.batch_execute(
                "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
            )?;
            // A number that no other program uses. The lock ends with the connection.
            let is_first: bool =
                diesel::select(sql::<Bool>("pg_try_advisory_lock(7307220)")).get_result(c)?;
            if !is_first {
                tracing::info!("another process is migrating the tables; waiting for it");
                c.batch_execute("SELECT pg_advisory_lock(7307220)")?;
            }
            compatibility::versions(c, POSTGRES_MIGRATIONS)?
        }
    };
    compatibility::check(conn, &versions)?;
    match conn {
        Conn::Sqlite(c) => {
            c.run_pending_migrations(SQLITE_MIGRATIONS).map_err(failed)?;
            statistics::fix(c)?;
        }
        Conn::Postgres(c) => {
            c.run_pending_migrations(POSTGRES_MIGRATIONS).map_err(failed)?;
            c.batch_execute(TRIGRAMS)?;
        }
    }
    compatibility::declare(conn)?;
    match conn {
        Conn::Sqlite(_) => refold(conn)?,
        Conn::Postgres(_) => conn.transaction(refold)?,
    }
    match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::commit_transaction(c)?,
        Conn::Postgres(c) => c.batch_execute("SELECT pg_advisory_unlock(7307220)")?,
    }
    Ok(())
}

/// Computes the folded forms again that earlier rules computed.
fn refold(conn: &mut Conn) -> Result<()> {
    addresses::refold(conn)?;
    names::refold(conn)
}

pub(super) fn pool(location: &Location, size: u32) -> Result<r2d2::Pool<Manager>> {
    r2d2::Pool::builder()
        .max_size(size)
        .min_idle(Some(1))
        .test_on_check_out(true)
        .connection_timeout(PATIENCE)
        .error_handler(Box::new(LogQuietly))
        .build(Manager { location: Arc::new(location.clone()) })
        .map_err(|error| Error::Unavailable(error.into()))
}

pub(super) fn connect(location: &Location) -> ConnectionResult<Conn> {
    match location {
        Location::Sqlite(path) => open_sqlite(path).map(Conn::Sqlite),
        Location::Postgres(url) => {
            let mut conn = PgConnection::establish(&postgres::with_defaults(url))?;
            conn.batch_execute(postgres::SESSION).map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(Conn::Postgres(conn))
        }
    }
}

/// The shortest timeout of a session. Only PostgreSQL has any.
fn timeout(conn: &mut Conn) -> QueryResult<Option<Duration>> {
    let Conn::Postgres(conn) = conn else { return Ok(None) };
    let shortest: Option<i64> =
        diesel::select(sql::<Nullable<BigInt>>(postgres::SHORTEST_TIMEOUT)).get_result(conn)?;
    Ok(shortest.and_then(|milliseconds| u64::try_from(milliseconds).ok()).map(Duration::from_millis))
}

/// Checks whether the database answers. Errors: why not, and whether waiting may help. The reasons of a server
/// whose messages are not English are not recognised, so it is waited for.
pub(super) fn reach(location: &Location) -> Result<(), (String, bool)> {
    let Location::Postgres(_) = location else { return Ok(()) };
    let mut conn = connect(location).map_err(|error| {
        let cause = error.to_string();
        let is_refused = ["authentication failed", "does not exist", "no pg_hba.conf entry"]
            .iter()
            .any(|sign| cause.contains(sign));
        (cause, !is_refused)
    })?;
    let Conn::Postgres(conn) = &mut conn else { return Ok(()) };
    let is_standby = suitability::is_standby(conn).unwrap_or_default();
    if is_standby { Err((Unsuitable::Standby.to_string(), true)) } else { Ok(()) }
}

fn open_sqlite(path: &Path) -> ConnectionResult<SqliteConnection> {
    let path = path.to_str().ok_or_else(|| ConnectionError::BadConnection("the path is not UTF-8".into()))?;
    // Only the owner may read it; its log files take its mode. An existing file is never opened here: closing it
    // would end the locks that this process holds on it (POSIX), and the next process to open the database would
    // delete the log into which this process writes.
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
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -4000; \
         PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;",
    )
    .map_err(ConnectionError::CouldntSetupConfiguration)?;
    Ok(conn)
}

/// SQLite does not wait where two processes switch a new file at once, so the second one tries again.
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

/// Makes and checks the connections of a pool.
pub(super) struct Manager {
    location: Arc<Location>,
}

/// A pooled connection and its health.
pub(super) struct Link {
    pub(super) conn: Conn,
    pub(super) broken: bool,
    pub(super) used: Instant,
    /// The shortest timeout of its session.
    pub(super) timeout: Option<Duration>,
}

impl r2d2::ManageConnection for Manager {
    type Connection = Link;
    type Error = Lost;

    fn connect(&self) -> Result<Link, Lost> {
        let mut conn = connect(&self.location).map_err(|error| Lost(error.to_string()))?;
        let timeout = timeout(&mut conn).map_err(|error| Lost(error.to_string()))?;
        Ok(Link { conn, broken: false, used: Instant::now(), timeout })
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
pub(super) struct Lost(String);

#[derive(Debug)]
struct LogQuietly;

impl r2d2::HandleError<Lost> for LogQuietly {
    fn handle_error(&self, error: Lost) {
        tracing::warn!(%error, "the database can't be reached");
    }
}
