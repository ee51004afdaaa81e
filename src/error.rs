//! Errors of the domain and the foundation.
//!
//! Domain functions return [`Error`]; an interface turns it into a problem document, a page
//! or a line on standard error. `Invalid` is for values that parse but are not acceptable; text that
//! can't be parsed never reaches the domain. The interface logs the cause of `Unavailable`,
//! `Unconfirmed` and `Internal` once and never shows it.

use crate::refusal::Refusal;
use crate::scope::Scopes;

/// The result of a domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a domain function failed. Nothing has changed, except perhaps for [`Error::Unconfirmed`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unacceptable values, each with its field.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// The request would rename a key.
    #[error("A key's name never changes.")]
    NameImmutable,
    /// A key that is neither revoked nor expired has this name.
    #[error("The name {0} is taken by another key. Choose another name.")]
    NameTaken(String),
    /// A rotation is in progress: the old secret still works.
    #[error("A rotation of this key is in progress. End it before you rotate the key again.")]
    RotationOpen,
    /// The key is revoked or expired.
    #[error("The key has ended and can't be changed.")]
    KeyEnded,
    /// The request grants more than the principal may grant.
    #[error("You may not grant {}.", .0.names().join(", "))]
    ScopeNotGrantable(Scopes),
    /// The organisation has no such object.
    #[error("Not found.")]
    NotFound,
    /// The role does not allow this.
    #[error("Your role does not allow this.")]
    Forbidden,
    /// Not allowed, for a reason other than the role.
    #[error("{0}")]
    Denied(&'static str),
    /// The session has ended, or the person is disabled.
    #[error("You are signed out. Sign in and try again.")]
    SignedOut,
    /// The person must prove their identity again.
    #[error("Confirm your identity and try again.")]
    NotFresh,
    /// The acting key has stopped working or lacks a scope.
    #[error("The API key may not do this.")]
    KeyRefused(Refusal),
    /// The current state does not allow this.
    #[error("{0}")]
    Conflict(&'static str),
    /// The audit log is not what Keydesk wrote, so nothing about it is signed.
    #[error(
        "The audit log is broken at entry {} ({why}), so it is not signed. An operator must run \
         `keydesk audit recover`.",
        index + 1
    )]
    LogBroken {
        /// The first bad entry, from 0.
        index: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The database is unreachable or busy; a retry may succeed.
    #[error("The database is unavailable. Try again in a moment.")]
    Unavailable(#[source] Cause),
    /// The connection was lost during the commit, so the change may or may not have been made.
    #[error(
        "The connection to the database was lost while saving the change. It may have been made: check \
         before you try again."
    )]
    Unconfirmed(#[source] Cause),
    /// A fault in Keydesk or its configuration.
    #[error("Something went wrong inside Keydesk.")]
    Internal(#[source] Cause),
}

/// The cause of an error, for the log only.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// An unacceptable value.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The member of the JSON body or the field of the form.
    pub field: &'static str,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
}

impl FieldError {
    /// An error about `field`.
    pub fn new(field: &'static str, message: impl Into<String>) -> FieldError {
        FieldError { field, message: message.into() }
    }
}

impl Error {
    /// An error about one unacceptable value.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Error {
        Error::Invalid(vec![FieldError::new(field, message)])
    }

    /// Whether the database failed to answer.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Unconfirmed(_))
    }

    /// Whether the cause is a database row that Keydesk can't have written.
    pub fn is_unreadable(&self) -> bool {
        let Error::Internal(cause) = self else { return false };
        matches!(cause.downcast_ref(), Some(diesel::result::Error::DeserializationError(_)))
    }

    /// A database row that Keydesk can't have written.
    pub fn unreadable(cause: impl Into<Cause>) -> Error {
        Error::internal(diesel::result::Error::DeserializationError(cause.into()))
    }

    /// The transaction must run again, as after a conflict with another one.
    pub fn retry(why: &'static str) -> Error {
        let kind = diesel::result::DatabaseErrorKind::SerializationFailure;
        Error::internal(diesel::result::Error::DatabaseError(kind, Box::new(why.to_owned())))
    }

    /// A fault in Keydesk.
    pub fn internal(cause: impl Into<Cause>) -> Error {
        Error::Internal(cause.into())
    }
}

fn list(errors: &[FieldError]) -> String {
    let lines: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
    lines.join(" ")
}
