//! What the errors of the databases mean.
//!
//! SQLite's messages are always English, so errors are recognised by them. PostgreSQL's are in the language of its
//! operator (`lc_messages`), and diesel 2.3 does not hand on their SQLSTATE, only the kinds that it has names for.
//! Errors without a kind (a deadlock, a timeout, a full disk, a fault of ours) are recognised by how they behave: a
//! deadlock is gone when the transaction runs again, a timeout comes after some time, and on a full disk nothing can be
//! stored.

use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::db::Conn;
use crate::error::Error;

/// A transaction that fails later than that has waited for a timeout, and not run into a deadlock.
const REPEATED_WITHIN: Duration = Duration::from_secs(5);

/// SQLite's messages after which it is unknown how far the database came.
pub(super) const CUT_OFF: [&str; 1] = ["disk I/O error"];
/// SQLite's messages where it has refused.
pub(super) const REFUSED: [&str; 5] = [
    "database is locked",
    "database table is locked",
    "unable to open database file",
    "database or disk is full",
    "attempt to write a readonly database",
];
/// Stores a few pages of rows and takes them back.
const STORE_SOMETHING: &str = "BEGIN; INSERT INTO usage_writers (id, batch, seen_at)
    SELECT decode(md5(number::text), 'hex'), 0, 0 FROM generate_series(1, 500) number; ROLLBACK";

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        if is_lost(&error) { Error::Unavailable(error.into()) } else { Error::Internal(error.into()) }
    }
}

/// Reads the readable ones of rows that could not be read together. A row that can't be read was not written by
/// Keydesk: it is logged and left out.
pub fn each_readable<K, T>(
    keys: Vec<K>,
    mut read: impl FnMut(K) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut rows = Vec::new();
    for key in keys {
        match read(key) {
            Err(error) if error.is_unreadable() => {
                tracing::error!(cause = ?error, "a row of the database can't be read and is left out");
            }
            row => rows.push(row?),
        }
    }
    Ok(rows)
}

/// Whether the database is unavailable or too busy, as opposed to a wrong statement.
pub(super) fn is_lost(error: &DieselError) -> bool {
    let is_refused = matches!(
        error,
        DieselError::BrokenTransactionManager
            | DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _)
    );
    is_refused || is_cut_off(error) || says(error, &REFUSED)
}

/// Whether the database was lost before it answered.
pub(super) fn is_cut_off(error: &DieselError) -> bool {
    let is_closed = matches!(
        error,
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
    );
    is_closed || says(error, &CUT_OFF)
}

fn says(error: &DieselError, messages: &[&str]) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            messages.contains(&information.message())
        }
        _ => false,
    }
}

/// Whether the error is a violation of the unique index of this name. SQLite names `table_column` instead, as
/// `table.column`.
pub fn violates(error: &DieselError, index: &str, table_column: &str) -> bool {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, information) => {
            information.constraint_name() == Some(index) || information.message().contains(table_column)
        }
        _ => false,
    }
}

/// Whether a transaction that took so long may succeed when it runs again: it ran into a deadlock, or into
/// another transaction.
pub(super) fn may_repeat(conn: &Conn, error: &Error, took: Duration) -> bool {
    match kind(error) {
        Some(DatabaseErrorKind::SerializationFailure) => true,
        Some(DatabaseErrorKind::Unknown) => matches!(conn, Conn::Postgres(_)) && took < REPEATED_WITHIN,
        _ => false,
    }
}

/// The error of work that took so long on a connection. `timeout` is the shortest of its session.
pub(super) fn explain(error: Error, conn: &mut Conn, took: Duration, timeout: Option<Duration>) -> Error {
    let is_unknown = matches!(kind(&error), Some(DatabaseErrorKind::Unknown));
    let Conn::Postgres(conn) = conn else { return error };
    let is_late = timeout.is_some_and(|timeout| took >= timeout);
    match error {
        Error::Internal(cause) if is_unknown && (is_late || conn.batch_execute(STORE_SOMETHING).is_err()) => {
            Error::Unavailable(cause)
        }
        error => error,
    }
}

fn kind(error: &Error) -> Option<&DatabaseErrorKind> {
    let Error::Internal(cause) = error else { return None };
    match cause.downcast_ref::<DieselError>() {
        Some(DieselError::DatabaseError(kind, _)) => Some(kind),
        _ => None,
    }
}
