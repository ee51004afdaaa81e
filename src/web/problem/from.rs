//! The problems of errors and refusals of the domain.

use crate::error::{Error, FieldError};
use crate::refusal::Refusal;
use crate::web::problem::{Code, Problem, RequiredStep};

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Revoked => Problem::invalid_token(Code::KeyRevoked),
            Refusal::Expired => Problem::invalid_token(Code::KeyExpired),
            Refusal::Superseded => Problem::invalid_token(Code::KeySuperseded),
            Refusal::Disabled => Problem::invalid_token(Code::KeyDisabled),
            Refusal::IpNotAllowed => Problem::new(
                Code::IpNotAllowed,
                "This key can't be used from this address. An admin can allow it.",
            ),
            Refusal::MissingScope(scope) => Problem::insufficient_scope(scope),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        let detail = error.to_string();
        match error {
            Error::Invalid(errors) => Problem { errors, ..Problem::new(Code::ValidationFailed, detail) },
            Error::NameImmutable => Problem {
                errors: vec![FieldError::new("name", detail.clone())],
                ..Problem::new(Code::NameImmutable, detail)
            },
            Error::NameTaken(_) => Problem {
                errors: vec![FieldError::new("name", detail.clone())],
                ..Problem::new(Code::NameTaken, detail)
            },
            Error::RotationOpen => Problem::new(Code::RotationOpen, detail),
            Error::KeyEnded => Problem::new(Code::KeyEnded, detail),
            Error::ScopeNotGrantable(_) => Problem {
                errors: vec![FieldError::new("scopes", detail.clone())],
                ..Problem::new(Code::ScopeNotGrantable, detail)
            },
            Error::NotFound => Problem::not_found(),
            Error::Forbidden => Problem::new(
                Code::Forbidden,
                "Your role does not allow this. Ask an admin of the organisation.",
            ),
            Error::Denied(detail) => Problem::new(Code::Forbidden, detail),
            Error::SignedOut => {
                Problem { required_step: Some(RequiredStep::SignIn), ..Problem::new(Code::Forbidden, detail) }
            }
            Error::NotFresh => {
                Problem { required_step: Some(RequiredStep::Fresh), ..Problem::new(Code::Forbidden, detail) }
            }
            Error::KeyRefused(refusal) => Problem::from(refusal),
            Error::Conflict(detail) => Problem::new(Code::Conflict, detail),
            Error::LogBroken { .. } => Problem::new(Code::Conflict, detail),
            Error::Unavailable(cause) => {
                tracing::warn!(%cause, "the database is unavailable");
                Problem::unavailable()
            }
            Error::Unconfirmed(cause) => {
                tracing::warn!(%cause, "the connection was lost during a commit; the change may have been made");
                Problem::new(
                    Code::Unavailable,
                    "The connection to the database was lost while saving the change. It may have been \
                     made: check before you try again, or repeat a request that had an Idempotency-Key with \
                     the same key.",
                )
            }
            Error::Internal(cause) => {
                tracing::error!(%cause, "internal error");
                Problem::new(
                    Code::Internal,
                    "The error is on the server and was logged. Nothing was changed.",
                )
            }
        }
    }
}
