//! What can go wrong below the faces.
//!
//! Domain functions return [`Error`]; a face turns it into a problem document, a page
//! or a line on standard error. `Invalid` is for values that were understood and are
//! not acceptable; a text that cannot be parsed never reaches the domain.
//! The causes of `Unavailable`, `Unconfirmed` and `Internal` are logged once, where a face answers,
//! and are never shown.

use crate::refusal::Refusal;
use crate::scope::Scopes;

/// The result of a domain function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a domain function did not do what was asked. Nothing was changed, except perhaps for
/// [`Error::Unconfirmed`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Values that are not acceptable, each with its field.
    #[error("{}", list(.0))]
    Invalid(Vec<FieldError>),
    /// A name was given for a key that has one.
    #[error("A key's name never changes.")]
    NameImmutable,
    /// Another living key of the organisation has this name.
    #[error("A live key is already called {0}. Choose another name.")]
    NameTaken(String),
    /// The secret of a key was replaced, and the one before still works.
    #[error("A rotation of this key is open. End it before you rotate the key again.")]
    RotationOpen,
    /// The key is revoked or expired and can't be changed.
    #[error("The key has ended and can't be changed.")]
    KeyEnded,
    /// More was asked for than the asker may grant.
    #[error("You may not grant {}.", .0.names().join(", "))]
    ScopeNotGrantable(Scopes),
    /// There is no such thing in this organisation.
    #[error("There is no such thing here.")]
    NotFound,
    /// The role does not allow this.
    #[error("Your role does not allow this.")]
    Forbidden,
    /// This is not allowed, for a reason that the role alone doesn't explain.
    #[error("{0}")]
    Denied(&'static str),
    /// The session has ended, or the person is disabled.
    #[error("You are signed out. Sign in and try again.")]
    SignedOut,
    /// The person must prove their identity again first.
    #[error("Confirm your identity and try again.")]
    NotFresh,
    /// The acting key stopped working, or lacks a scope.
    #[error("The API key may not do this.")]
    KeyRefused(Refusal),
    /// The state of things does not allow this.
    #[error("{0}")]
    Conflict(&'static str),
    /// The audit log is not what was written, so nothing about it is signed.
    #[error(
        "The audit log is broken at entry {} ({why}), so it is not signed. An operator must run \
         `keydesk audit recover`.",
        index + 1
    )]
    LogBroken {
        /// The first bad entry, from 0.
        index: u64,
        /// What is wrong.
        why: String,
    },
    /// The database can't be reached or is too busy; the same call may succeed soon.
    #[error("The database can't be reached.")]
    Unavailable(#[source] Cause),
    /// The database was lost while it committed the change, which may have been made or not.
    #[error(
        "The connection to the database was lost while the change was being saved. It may have been made."
    )]
    Unconfirmed(#[source] Cause),
    /// A fault of Keydesk or of its configuration.
    #[error("Something went wrong inside Keydesk.")]
    Internal(#[source] Cause),
}

/// What lies behind an error, for the log only.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A value that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The member of the JSON body or the field of the form.
    pub field: &'static str,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
}

impl FieldError {
    /// A complaint about `field`.
    pub fn new(field: &'static str, message: impl Into<String>) -> FieldError {
        FieldError { field, message: message.into() }
    }
}

impl Error {
    /// One value that is not acceptable.
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Error {
        Error::Invalid(vec![FieldError::new(field, message)])
    }

    /// Whether the database did not answer.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::Unconfirmed(_))
    }

    /// Whether a row of the database holds what Keydesk can't have written there.
    pub fn is_unreadable(&self) -> bool {
        let Error::Internal(cause) = self else { return false };
        matches!(cause.downcast_ref(), Some(diesel::result::Error::DeserializationError(_)))
    }

    /// A row of the database holds what Keydesk can't have written there.
    pub fn unreadable(cause: impl Into<Cause>) -> Error {
        Error::internal(diesel::result::Error::DeserializationError(cause.into()))
    }

    /// The transaction has to be run again, as after a conflict with another one.
    pub fn again(why: &'static str) -> Error {
        let kind = diesel::result::DatabaseErrorKind::SerializationFailure;
        Error::internal(diesel::result::Error::DatabaseError(kind, Box::new(why.to_owned())))
    }

    /// A fault of ours.
    pub fn internal(cause: impl Into<Cause>) -> Error {
        Error::Internal(cause.into())
    }
}

fn list(errors: &[FieldError]) -> String {
    let lines: Vec<_> = errors.iter().map(|error| format!("{}: {}", error.field, error.message)).collect();
    lines.join(" ")
}
