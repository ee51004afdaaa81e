//! What the errors of the databases mean.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        if is_lost(&error) {
            Error::Unavailable(error.into())
        } else if says(&error, &["invalid byte sequence for encoding"]) {
            // PostgreSQL has no U+0000 in its texts; nothing else that comes from outside is not UTF-8.
            Error::invalid("value", "Remove the character U+0000.")
        } else {
            Error::Internal(error.into())
        }
    }
}

/// What can be read of rows that are read one by one, because one of them failed all. The others hold
/// what Keydesk can't have written: each is logged and left out.
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

/// What the messages say where nobody can tell how far the database came.
const CUT_OFF: [&str; 7] = [
    "server closed the connection",
    "terminating connection",
    "connection to server",
    "no connection to the server",
    "could not receive data",
    "SSL connection has been closed",
    "disk I/O error",
];
/// The same where it has refused.
const REFUSED: [&str; 11] = [
    "the database system is",
    "lock timeout",
    "statement timeout",
    "too many clients",
    "database is locked",
    "unable to open database",
    "database or disk is full",
    "No space left on device",
    "could not extend file",
    "readonly database",
    "read-only transaction",
];

/// Whether the error says that the database is away or too busy, rather than that the
/// statement is wrong.
pub(super) fn is_lost(error: &DieselError) -> bool {
    matches!(error, DieselError::BrokenTransactionManager) || is_cut_off(error) || says(error, &REFUSED)
}

/// Whether the database was lost before it answered.
pub(super) fn is_cut_off(error: &DieselError) -> bool {
    let lost = matches!(
        error,
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
    );
    lost || says(error, &CUT_OFF)
}

fn says(error: &DieselError, signs: &[&str]) -> bool {
    match error {
        DieselError::DatabaseError(_, information) => {
            signs.iter().any(|sign| information.message().contains(sign))
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

pub(super) fn is_deadlock(error: &Error) -> bool {
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
