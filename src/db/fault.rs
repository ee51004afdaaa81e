//! What the errors of the databases mean.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use crate::error::Error;

impl From<DieselError> for Error {
    fn from(error: DieselError) -> Error {
        if is_lost(&error) { Error::Unavailable(error.into()) } else { Error::Internal(error.into()) }
    }
}

/// Whether the error says that the database is away or too busy, rather than that the
/// statement is wrong.
pub(super) fn is_lost(error: &DieselError) -> bool {
    const SIGNS: [&str; 18] = [
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
        "No space left on device",
        "could not extend file",
        "readonly database",
        "read-only transaction",
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
