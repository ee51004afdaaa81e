//! What each operation of the API accepts and returns.

use serde_json::{Value, json};

use crate::keys::Status;
use crate::scope::Scope;
use crate::web::problem::Code;
use crate::web::problem::Code::{
    Conflict, Forbidden, IdempotencyConflict, KeyEnded, ModelNotAllowed, ModelNotFound, NameImmutable,
    NameTaken, NotFound, PayloadTooLarge, RequestTimeout, RotationOpen, ScopeNotGrantable,
    UnsupportedMediaType, UpstreamError, ValidationFailed,
};

use Answer::{CreatedSecret, Empty, Json, Object, Streamed, Text};

/// What an operation accepts and returns.
pub struct Operation {
    /// One line.
    pub summary: &'static str,
    pub body: Body,
    /// Parameters of the query: name, description, schema.
    pub query: Vec<(&'static str, &'static str, Value)>,
    /// Whether it supports `Idempotency-Key`.
    pub idempotent: bool,
    /// The status of success.
    pub status: u16,
    pub answer: Answer,
    /// Codes of its errors, except those that follow from the permission, the body and the path.
    pub codes: &'static [Code],
}

/// The body of a request.
pub enum Body {
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or nothing.
    OptionalJson(&'static str),
    /// JSON that is passed to the model unchanged.
    Passed,
    /// A form with a token (RFC 7662).
    Token,
}

/// The body of a successful response.
pub enum Answer {
    Empty,
    /// JSON of this schema.
    Json(&'static str),
    /// The key object with a new secret.
    CreatedSecret,
    /// Plain text with this description.
    Text(&'static str),
    /// JSON with this description, in the format of OpenAI's API or another standard.
    Object(&'static str),
    /// The same, or server-sent events if the request asks for a stream.
    Streamed(&'static str),
}

impl Operation {
    fn new(summary: &'static str, answer: Answer) -> Operation {
        let (body, query) = (Body::None, Vec::new());
        Operation { summary, body, query, idempotent: false, status: 200, answer, codes: &[] }
    }

    fn accepts(self, body: Body) -> Operation {
        Operation { body, ..self }
    }

    fn parameter(mut self, name: &'static str, description: &'static str, schema: Value) -> Operation {
        self.query.push((name, description, schema));
        self
    }

    fn fails_with(self, codes: &'static [Code]) -> Operation {
        Operation { codes, ..self }
    }

    /// Codes of errors that do not follow from the permission.
    pub fn codes(&self, names_key: bool) -> Vec<Code> {
        let mut codes = self.codes.to_vec();
        match self.body {
            Body::None => {}
            Body::Token => codes.extend([RequestTimeout, PayloadTooLarge, UnsupportedMediaType]),
            _ => codes.extend([RequestTimeout, PayloadTooLarge, UnsupportedMediaType, ValidationFailed]),
        }
        if names_key {
            codes.push(NotFound);
        }
        codes
    }
}

pub fn create_key() -> Operation {
    Operation { status: 201, idempotent: true, ..Operation::new("Create a key", CreatedSecret) }
        .accepts(Body::Json("CreateBody"))
        .fails_with(&[ScopeNotGrantable, Forbidden, NameTaken, IdempotencyConflict])
}

pub fn list_keys() -> Operation {
    Operation::new("List keys", Json("Page"))
        .parameter(
            "status",
            "Keys in this status; `active` includes `expiring`.",
            one_of(&Status::ALL.map(Status::name)),
        )
        .parameter("scope", "Keys with this scope.", scope())
        .parameter("owner", "Keys of this member.", id("user"))
        .parameter("q", "Words in the name, or a fingerprint.", json!({"type": "string", "maxLength": 200}))
        .parameter("fingerprint", "8 to 64 digits of the key's SHA-256.", matching("^[0-9a-fA-F]{8,64}$"))
        .parameter("limit", "The largest number of entries to return.", limit())
        .parameter("cursor", "`next_cursor` of the previous response.", id("key"))
        .fails_with(&[ValidationFailed])
}

pub fn show_own_key() -> Operation {
    Operation::new("Show the client's own key", Json("ApiKey")).fails_with(&[NotFound])
}

pub fn show_key() -> Operation {
    Operation::new("Show a key", Json("ApiKey"))
}

pub fn change_key() -> Operation {
    Operation::new("Change a key", Json("ApiKey")).accepts(Body::Json("PatchBody")).fails_with(&[
        ScopeNotGrantable,
        Forbidden,
        KeyEnded,
        NameImmutable,
    ])
}

pub fn revoke_key() -> Operation {
    Operation::new("Revoke a key", Json("ApiKey"))
        .accepts(Body::OptionalJson("RevokeBody"))
        .fails_with(&[Forbidden])
}

pub fn delete_key() -> Operation {
    Operation { status: 204, ..Operation::new("Revoke a key without returning it", Empty) }
        .fails_with(&[Forbidden])
}

pub fn rotate_key() -> Operation {
    Operation { idempotent: true, ..Operation::new("Give a key a new secret", CreatedSecret) }
        .accepts(Body::OptionalJson("RotateBody"))
        .fails_with(&[Forbidden, KeyEnded, RotationOpen, IdempotencyConflict])
}

pub fn move_rotation() -> Operation {
    Operation::new("Change when the old secret expires", Json("ApiKey"))
        .accepts(Body::Json("RotationBody"))
        .fails_with(&[Forbidden, KeyEnded, Conflict])
}

pub fn end_rotation() -> Operation {
    Operation::new("End the overlap now", Json("ApiKey")).fails_with(&[Forbidden, KeyEnded])
}

pub fn verify_key() -> Operation {
    Operation::new("Verify a key", Json("VerifyAnswer")).accepts(Body::Json("VerifyBody"))
}

pub fn introspect() -> Operation {
    Operation::new("Introspect a key", Object("Token introspection (RFC 7662).")).accepts(Body::Token)
}

pub fn authorize() -> Operation {
    let scope = Scope::ALL.map(Scope::name).join("|");
    let scopes = matching(&format!("^[ ,]*(({scope})([ ,]+({scope}))*[ ,]*)?$"));
    Operation::new("Authorize a request for a proxy", Empty)
        .parameter("scope", "Required scopes, separated by spaces or commas.", scopes)
        .parameter("deny", "403 turns every refusal into a 403 with `X-Keydesk-Code`.", one_of(&["403"]))
}

pub fn authorize_rest() -> Operation {
    Operation::new("Authorize a request for a proxy that appends the original path", Empty)
}

pub fn list_models() -> Operation {
    Operation::new("List models", Object("A list of models, as OpenAI's `GET /models`."))
        .fails_with(&[UpstreamError])
}

pub fn show_model() -> Operation {
    Operation::new("Show a model", Object("A model, as OpenAI's `GET /models/{model}`.")).fails_with(&[
        ModelNotAllowed,
        ModelNotFound,
        UpstreamError,
    ])
}

pub fn infer() -> Operation {
    Operation::new("Answer a prompt", Streamed("InferenceAnswer"))
        .accepts(Body::Json("InferenceBody"))
        .fails_with(&[ModelNotAllowed, ModelNotFound, Conflict, UpstreamError])
}

pub fn chat() -> Operation {
    passed("Answer a chat", "OpenAI's chat completion.")
}

pub fn complete() -> Operation {
    passed("Complete a text", "OpenAI's completion.")
}

pub fn embed() -> Operation {
    passed("Embed texts", "OpenAI's list of embeddings.")
}

pub fn respond() -> Operation {
    passed("Create a response", "OpenAI's response.")
}

pub fn usage() -> Operation {
    Operation::new("Read usage", Json("Usage"))
        .parameter("from", "Buckets that end after this time; 24 hours before `to` if omitted.", time())
        .parameter("to", "Buckets that begin before this time; now if omitted.", time())
        .parameter(
            "bucket",
            "The width of a bucket. Hourly counts are kept for 100 days.",
            one_of(&["hour", "day"]),
        )
        .parameter("group_by", "How to group the counts.", one_of(&["key", "model", "scope"]))
        .parameter("key", "Only requests with this key.", id("key"))
        .parameter(
            "owner",
            "Only requests with keys that this person owns now. A member's key sees only its owner's.",
            id("user"),
        )
        .parameter("scope", "Only requests to routes that require this scope.", scope())
        .parameter("model", "Only requests for this model.", json!({"type": "string"}))
        .fails_with(&[ValidationFailed])
}

pub fn audit_events() -> Operation {
    let text = || json!({"type": "string", "maxLength": 100});
    Operation::new("Read the audit log", Json("AuditEvents"))
        .parameter("actor", "Entries by this actor: `user_…`, `key_…`, `system:cli` or `system`.", text())
        .parameter("action", "Entries with this action, such as `key.revoked`.", text())
        .parameter("target", "Entries about this identifier.", text())
        .parameter("from", "Entries from this time on.", time())
        .parameter("to", "Entries before this time.", time())
        .parameter("limit", "The largest number of entries to return.", limit())
        .parameter("cursor", "`next_cursor` of the previous response.", matching("^[0-9]{1,18}$"))
        .fails_with(&[ValidationFailed])
}

pub fn audit_checkpoint() -> Operation {
    Operation::new(
        "Read the current checkpoint of the audit log",
        Text("A signed note (c2sp.org/tlog-checkpoint)."),
    )
}

pub fn audit_proof() -> Operation {
    let at_least = |minimum: u64| json!({"type": "integer", "minimum": minimum});
    Operation::new("Prove that the audit log includes an entry or has only grown", Json("AuditProof"))
        .parameter("index", "The entry whose inclusion to prove.", at_least(0))
        .parameter("from", "The older size from which to prove that the log has only grown.", at_least(1))
        .parameter("size", "The size of the log in a checkpoint; the current size if omitted.", at_least(1))
        .fails_with(&[ValidationFailed])
}

pub fn openapi() -> Operation {
    Operation::new("This document", Object("OpenAPI 3.1."))
}

/// An operation that is passed to the model unchanged.
fn passed(summary: &'static str, answer: &'static str) -> Operation {
    Operation::new(summary, Streamed(answer)).accepts(Body::Passed).fails_with(&[
        ModelNotFound,
        Conflict,
        UpstreamError,
    ])
}

fn time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

fn id(kind: &str) -> Value {
    matching(&format!("^{kind}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"))
}

fn matching(pattern: &str) -> Value {
    json!({"type": "string", "pattern": pattern})
}

fn one_of(values: &[&str]) -> Value {
    json!({"type": "string", "enum": values})
}

fn scope() -> Value {
    one_of(&Scope::ALL.map(Scope::name))
}

fn limit() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50})
}
