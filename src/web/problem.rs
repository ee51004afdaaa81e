//! API errors: RFC 9457 problem documents with an extension `error`, so that OpenAI clients understand them
//! too. Pages show the same problems in their own words.

mod document;
mod from;

pub use document::Document;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};

use crate::error::FieldError;
use crate::scope::Scope;

macro_rules! codes {
    ($($code:ident($name:literal, $status:literal, $title:literal, $remedy:literal),)*) => {
        /// The kind of a problem, as defined by the contract.
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
    InvalidRequest("invalid_request", 400, "The request can't be read", "Correct the body or the query as `detail` says."),
    MissingCredential("missing_credential", 401, "No API key was sent", "Send `Authorization: Bearer` and the key."),
    InvalidToken("invalid_token", 401, "The API key is not valid", "Check that the whole key was copied, and that it belongs to this server."),
    KeyExpired("key_expired", 401, "The API key has expired", "Create a new key."),
    KeyRevoked("key_revoked", 401, "The API key was revoked", "Ask an admin why it was revoked, or create a new key."),
    KeySuperseded("key_superseded", 401, "The API key was rotated", "Use the new secret."),
    KeyDisabled("key_disabled", 401, "The API key is disabled", "Ask an admin to enable it."),
    InsufficientScope("insufficient_scope", 403, "The API key lacks a scope", "Use a key with the scope in `WWW-Authenticate`."),
    ScopeNotGrantable("scope_not_grantable", 403, "A scope can't be granted", "Request only scopes that the owner's role allows."),
    IpNotAllowed("ip_not_allowed", 403, "The API key can't be used from this address", "Use an allowed address, or ask an admin to allow this one."),
    Forbidden("forbidden", 403, "This is not allowed", "Ask someone whose role allows it."),
    ModelNotAllowed("model_not_allowed", 403, "The model is not allowed", "Choose a model from `GET /v1/models`."),
    NotFound("not_found", 404, "Not found", "Check the id. Other organisations' objects are not found either."),
    ModelNotFound("model_not_found", 404, "The model does not exist", "Choose a model from `GET /v1/models`."),
    MethodNotAllowed("method_not_allowed", 405, "The method is not allowed here", "Use a method listed in `Allow`."),
    RequestTimeout("request_timeout", 408, "The request did not arrive in time", "Send the body again, all at once."),
    NameTaken("name_taken", 409, "The name is taken", "Choose another name, or revoke the key that has it."),
    RotationOpen("rotation_open", 409, "A rotation is in progress", "End the rotation first, or wait until it is over."),
    KeyEnded("key_ended", 409, "The key has ended", "Create a new key; revoked and expired keys can't be changed."),
    Conflict("conflict", 409, "The current state does not allow this", "Check the current state and try again."),
    PayloadTooLarge("payload_too_large", 413, "The request is too large", "Send at most as much as `detail` says."),
    UnsupportedMediaType("unsupported_media_type", 415, "The media type is not supported", "Send `Content-Type: application/json`."),
    ValidationFailed("validation_failed", 422, "Some values are not acceptable", "Fix the fields listed in `errors`."),
    NameImmutable("name_immutable", 422, "A key's name can't be changed", "Leave the name out, or create another key."),
    IdempotencyConflict("idempotency_conflict", 409, "The same request is still being processed", "Wait for the first response, or use another Idempotency-Key."),
    RateLimited("rate_limited", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    Internal("internal", 500, "Something went wrong inside Keydesk", "Send the request id to the operator of Keydesk."),
    UpstreamError("upstream_error", 502, "The upstream returned an error", "Try again later, unless `x-should-retry` is `false`."),
    Unavailable("unavailable", 503, "Keydesk is unavailable", "Wait as long as `Retry-After` says."),
}

impl Code {
    pub fn name(self) -> &'static str {
        self.parts().0
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.parts().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The title, for people.
    pub fn title(self) -> &'static str {
        self.parts().2
    }

    /// The remedy, with code in back quotes.
    pub fn remedy(self) -> &'static str {
        self.parts().3
    }
}

/// The reason why a request failed. It changed nothing.
#[derive(Clone, Debug)]
pub struct Problem {
    pub code: Code,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// What is wrong and what to do, in sentences.
    pub detail: String,
    pub errors: Vec<FieldError>,
    /// What a person has to do before they try again.
    pub required_step: Option<RequiredStep>,
    headers: Vec<(HeaderName, String)>,
    status: StatusCode,
}

/// What a person has to do before their request can be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredStep {
    /// Sign in, because their session has ended.
    SignIn,
    /// Confirm their identity, because their sign-in is not fresh.
    Fresh,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            title: code.title(),
            detail: detail.into(),
            errors: Vec::new(),
            required_step: None,
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
            "Nothing was changed. Try again in a moment: Keydesk is waiting for its database.",
        )
    }

    /// Nothing exists here, or nothing that the sender may know of.
    pub fn not_found() -> Problem {
        Problem::new(
            Code::NotFound,
            "Nothing was found at this address, or it belongs to another organisation.",
        )
    }

    /// A request without a credential (RFC 6750 section 3.1: no error code).
    pub fn missing_credential() -> Problem {
        Problem::new(Code::MissingCredential, "Send an API key as `Authorization: Bearer <key>`.")
            .with_header(header::WWW_AUTHENTICATE, "Bearer realm=\"keydesk\"")
    }

    /// A key that is refused. The code reveals the reason to a client that presented a real secret; the
    /// description is always the same.
    pub fn invalid_token(code: Code) -> Problem {
        let detail = match code {
            Code::KeyExpired => "The key has expired. Create a new one.",
            Code::KeyRevoked => "The key was revoked. Create a new one.",
            Code::KeySuperseded => "The key was rotated, and this secret no longer works. Use the new one.",
            Code::KeyDisabled => "The key is disabled. An admin can enable it again.",
            _ => "The key does not exist. Check that the whole key was copied.",
        };
        let challenge = "Bearer realm=\"keydesk\", error=\"invalid_token\", error_description=\"The API key is not valid\"";
        Problem::new(code, detail).with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// RFC 6750 section 3.1.
    pub fn insufficient_scope(scope: Scope) -> Problem {
        let challenge = format!("Bearer realm=\"keydesk\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Problem::new(
            Code::InsufficientScope,
            format!("This request needs the scope {scope}, which the key does not have."),
        )
        .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// Adds a header to the response.
    pub fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    /// Tells OpenAI clients not to retry: it would not help, or be paid for twice.
    pub fn without_retry(self) -> Problem {
        self.with_header(HeaderName::from_static("x-should-retry"), "false")
    }

    /// Replaces the title of the code by a more precise one.
    pub fn with_title(self, title: &'static str) -> Problem {
        Problem { title, ..self }
    }

    /// Turns a refusal into a 403 with the code in `X-Keydesk-Code`.
    pub fn as_403(self) -> Problem {
        let code = self.code.name();
        Problem { status: StatusCode::FORBIDDEN, ..self }
            .with_header(HeaderName::from_static("x-keydesk-code"), code)
    }

    /// The data of the event that ends a stream with this problem, in the form of the OpenAI API.
    pub fn event(&self) -> serde_json::Value {
        serde_json::json!({ "error": Document::new(self, "").error })
    }

    /// The API's response. `request` is the request's id.
    pub fn document(&self, request: &str) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        self.add_headers(&mut response);
        response.body(serde_json::to_string(&Document::new(self, request)).unwrap_or_default())
    }

    pub fn add_headers(&self, response: &mut actix_web::HttpResponseBuilder) {
        for (name, value) in &self.headers {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.append_header((name.clone(), value));
            }
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
