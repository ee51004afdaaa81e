//! Errors of the API: RFC 9457 problem documents with an extension `error`, so that OpenAI
//! clients read them too. Pages show the same problems in words of their own.

mod document;

pub use document::Document;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};

use crate::error::{Error, FieldError};
use crate::refusal::Refusal;
use crate::scope::Scope;

macro_rules! codes {
    ($($code:ident($name:literal, $status:literal, $title:literal, $remedy:literal),)*) => {
        /// What went wrong, by the codes of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($code,)* }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$code),*];

            /// Name, status, title and remedy.
            fn parts(self) -> (&'static str, u16, &'static str, &'static str) {
                match self { $(Code::$code => ($name, $status, $title, $remedy),)* }
            }
        }
    };
}

codes! {
    InvalidRequest("invalid_request", 400, "The request can't be read", "Correct the body or the query; `detail` says where."),
    MissingCredential("missing_credential", 401, "No API key was sent", "Send `Authorization: Bearer` and the key."),
    InvalidToken("invalid_token", 401, "The API key is not valid", "Check that the key was copied whole, and that it is for this server."),
    KeyExpired("key_expired", 401, "The API key has expired", "Create a new key."),
    KeyRevoked("key_revoked", 401, "The API key was revoked", "Create a new key; ask who revoked it."),
    KeySuperseded("key_superseded", 401, "The API key was replaced", "Use the new secret that the rotation made."),
    KeyDisabled("key_disabled", 401, "The API key is disabled", "Ask an admin to enable it."),
    InsufficientScope("insufficient_scope", 403, "The API key lacks a scope", "Use a key with the scope that `WWW-Authenticate` names."),
    ScopeNotGrantable("scope_not_grantable", 403, "A scope may not be granted", "Ask for scopes that the owner's role may hold."),
    IpNotAllowed("ip_not_allowed", 403, "The API key may not be used from this address", "Call from an allowed address, or have an admin change them."),
    Forbidden("forbidden", 403, "This is not allowed", "Ask someone whose role allows it."),
    NotFound("not_found", 404, "There is no such thing here", "Check the id; what belongs to others is not found either."),
    ModelNotFound("model_not_found", 404, "There is no such model", "Choose one that `GET /v1/models` lists."),
    MethodNotAllowed("method_not_allowed", 405, "The method is not allowed here", "Use a method that `Allow` names."),
    RequestTimeout("request_timeout", 408, "The request did not arrive in time", "Send the body again, all at once."),
    NameTaken("name_taken", 409, "The name is taken", "Choose another name, or revoke the key that has it."),
    RotationOpen("rotation_open", 409, "A rotation is open", "End the open rotation first, or wait until it is over."),
    KeyEnded("key_ended", 409, "The key has ended", "Create a new key; an ended one does not change."),
    Conflict("conflict", 409, "Something else is in the way", "Look at what is there now, then try again."),
    PayloadTooLarge("payload_too_large", 413, "The request is too large", "Send less: 64 KiB, or 10 MiB to models."),
    UnsupportedMediaType("unsupported_media_type", 415, "The media type is not supported", "Send `Content-Type: application/json`."),
    ValidationFailed("validation_failed", 422, "Some values are not acceptable", "Mend the fields that `errors` names."),
    NameImmutable("name_immutable", 422, "A key's name never changes", "Leave the name out, or create another key."),
    IdempotencyConflict("idempotency_conflict", 409, "The same request is still being answered", "Wait for the first answer, or use another Idempotency-Key."),
    RateLimited("rate_limited", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    Internal("internal", 500, "Something went wrong inside Keydesk", "Tell whoever runs Keydesk the request id."),
    UpstreamError("upstream_error", 502, "The upstream did not answer well", "Do not repeat it blindly: work may have been done."),
    Unavailable("unavailable", 503, "Keydesk can't answer right now", "Wait as long as `Retry-After` says."),
}

impl Code {
    /// The code as programs read it.
    pub fn name(self) -> &'static str {
        self.parts().0
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.parts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What it is, for people.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    /// What to do about it, with code in back quotes.
    pub fn remedy(self) -> &'static str {
        self.parts().3
    }
}

/// The reason why a request failed. It changed nothing.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    /// What is wrong and what to do, as sentences.
    pub detail: String,
    /// Values that are not acceptable.
    pub errors: Vec<FieldError>,
    /// What a person has to do before they try again.
    pub asks_for: Option<Proof>,
    headers: Vec<(HeaderName, String)>,
    status: StatusCode,
}

/// What a person has to do before a request of theirs is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Sign in: their session has ended.
    SignIn,
    /// Confirm their identity: their sign-in is no longer fresh.
    Fresh,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            asks_for: None,
            headers: Vec::new(),
            status: code.status(),
        }
    }

    pub fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(Code::InvalidRequest, detail)
    }

    pub fn unavailable() -> Problem {
        Problem::new(
            Code::Unavailable,
            "Nothing was changed. Try again in a moment; Keydesk is back as soon as its database can be reached.",
        )
    }

    /// Nothing here, or nothing that the asker may know of.
    pub fn not_found() -> Problem {
        Problem::new(
            Code::NotFound,
            "There is nothing at this address, or it belongs to another organisation.",
        )
    }

    /// A request without credential (RFC 6750 section 3.1: no error code).
    pub fn missing_credential() -> Problem {
        Problem::new(Code::MissingCredential, "Send an API key as `Authorization: Bearer <key>`.")
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"keydesk\"")
    }

    /// A key that opens nothing. Whoever proved a real secret learns why by the code;
    /// the description is the same for all.
    pub fn invalid_token(code: Code) -> Problem {
        let detail = match code {
            Code::KeyExpired => "The key has expired. Create a new one.",
            Code::KeyRevoked => "The key was revoked. Create a new one.",
            Code::KeySuperseded => "The key was rotated and this secret of it has ended. Use the new one.",
            Code::KeyDisabled => "The key is disabled. An admin can enable it again.",
            _ => "The key is unknown here. Check that it was copied whole.",
        };
        let challenge = "Bearer realm=\"keydesk\", error=\"invalid_token\", error_description=\"The API key is not valid\"";
        Problem::new(code, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// RFC 6750 section 3.1.
    pub fn insufficient_scope(scope: Scope) -> Problem {
        let challenge = format!("Bearer realm=\"keydesk\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Problem::new(
            Code::InsufficientScope,
            format!("This call needs the scope {scope}, which this key does not have."),
        )
        .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// The same problem with another header.
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// The same refusal as a 403 that tells its code in `X-Keydesk-Code`.
    pub fn as_403(self) -> Problem {
        let code = self.code.name();
        Problem { status: StatusCode::FORBIDDEN, ..self }
            .with_header(HeaderName::from_static("x-keydesk-code"), code)
    }

    /// The refusal as the data of an event in a stream that it ends, in the form of the OpenAI API.
    pub fn event(&self) -> serde_json::Value {
        serde_json::json!({ "error": Document::new(self, "").error })
    }

    /// The answer of the API. `request` is the request's id.
    pub fn document(&self, request: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        self.add_headers(&mut response);
        response.body(serde_json::to_string(&Document::new(self, request)).unwrap_or_default())
    }

    /// Adds the headers that the problem asks for.
    pub fn add_headers(&self, response: &mut actix_web::HttpResponseBuilder) {
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.insert_header((name.clone(), value));
            }
        }
        if self.code == Code::UpstreamError {
            // The upstream may have done the work: a client that tries again pays twice.
            response.insert_header((HeaderName::from_static("x-should-retry"), "false"));
        }
        if self.code == Code::Unavailable && !self.headers.iter().any(|(name, _)| name == header::RETRY_AFTER)
        {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail)
    }
}

/// Only for problems that the envelope, which knows the request, did not render.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        match refusal {
            Refusal::Revoked => Problem::invalid_token(Code::KeyRevoked),
            Refusal::Expired => Problem::invalid_token(Code::KeyExpired),
            Refusal::Superseded => Problem::invalid_token(Code::KeySuperseded),
            Refusal::Disabled => Problem::invalid_token(Code::KeyDisabled),
            Refusal::IpNotAllowed => Problem::new(
                Code::IpNotAllowed,
                "This key may be used from other addresses only. An admin can change them.",
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
                Problem { asks_for: Some(Proof::SignIn), ..Problem::new(Code::Forbidden, detail) }
            }
            Error::NotFresh => {
                Problem { asks_for: Some(Proof::Fresh), ..Problem::new(Code::Forbidden, detail) }
            }
            Error::KeyRefused(refusal) => Problem::from(refusal),
            Error::Conflict(detail) => Problem::new(Code::Conflict, detail),
            Error::LogBroken { .. } => Problem::new(Code::Conflict, detail),
            Error::Unavailable(cause) => {
                tracing::warn!(%cause, "not available");
                Problem::unavailable()
            }
            Error::Unconfirmed(cause) => {
                tracing::warn!(%cause, "a change may have been made without an answer");
                Problem::new(
                    Code::Unavailable,
                    "The connection to the database was lost while the change was being saved. It may have \
                     been made: look before you try again, or repeat a request that had an Idempotency-Key \
                     with the same one.",
                )
            }
            Error::Internal(cause) => {
                tracing::error!(%cause, "internal error");
                Problem::new(Code::Internal, "The fault is on this side and was logged. Nothing was changed.")
            }
        }
    }
}
