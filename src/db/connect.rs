//! Making connections, keeping them in pools, and bringing the tables up to date.

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
use diesel::sql_types::Bool;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::db::{Conn, Location, addresses, compatibility, postgres, statistics};
use crate::error::{Error, Result};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");
/// An index of a kind that SQLite does not have, so it is no part of the migrations.
const TRIGRAMS: &str = include_str!("trigrams.sql");

/// How long a call waits for a free connection before it answers that there is none.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// A connection used within this time is taken to be alive without asking it.
const FRESH: Duration = Duration::from_secs(1);

pub(super) fn migrate(conn: &mut Conn) -> Result<()> {
    let failed = |error| Error::internal(format!("the tables can't be brought up to date: {error}"));
    let versions = match conn {
        Conn::Sqlite(c) => {
            AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?;
            compatibility::versions(c, SQLITE_MIGRATIONS)?
        }
        Conn::Postgres(c) => {
            // Tables of years take their time, and so does whoever waits for another process to
            // bring them up to date.
            c.batch_execute(
                "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0",
            )?;
            // Any number that no other program uses; the lock ends with the connection.
            let is_first: bool =
                diesel::select(sql::<Bool>("pg_try_advisory_lock(7307220)")).get_result(c)?;
            if !is_first {
                tracing::info!("another process is bringing the tables up to date; waiting for it");
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
        Conn::Sqlite(_) => addresses::refold(conn)?,
        Conn::Postgres(_) => conn.transaction(addresses::refold)?,
    }
    match conn {
        Conn::Sqlite(c) => AnsiTransactionManager::commit_transaction(c)?,
        Conn::Postgres(c) => c.batch_execute("SELECT pg_advisory_unlock(7307220)")?,
    }
    Ok(())
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

/// Whether the database answers. Errors: why not, and whether waiting may help.
pub(super) fn reach(location: &Location) -> Result<(), (String, bool)> {
    let Location::Postgres(_) = location else { return Ok(()) };
    connect(location).map(drop).map_err(|error| {
        let cause = error.to_string();
        let is_refused = ["authentication failed", "does not exist", "no pg_hba.conf entry"]
            .iter()
            .any(|sign| cause.contains(sign));
        (cause, !is_refused)
    })
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
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -4000; \
         PRAGMA temp_store = MEMORY; PRAGMA wal_autocheckpoint = 4000;",
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

/// Makes and checks the connections of a pool.
pub(super) struct Manager {
    location: Arc<Location>,
}

/// A pooled connection with what is known of its health.
pub(super) struct Link {
    pub(super) conn: Conn,
    pub(super) broken: bool,
    pub(super) used: Instant,
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
pub(super) struct Lost(String);

#[derive(Debug)]
struct LogQuietly;

impl r2d2::HandleError<Lost> for LogQuietly {
    fn handle_error(&self, error: Lost) {
        tracing::warn!(%error, "the database can't be reached");
    }
}
