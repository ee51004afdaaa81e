//! What each call of the API takes and answers, beside what its permission says already.

use serde_json::{Value, json};

use crate::keys::Status;
use crate::scope::Scope;
use crate::web::problem::Code;
use crate::web::problem::Code::{
    Conflict, Forbidden, IdempotencyConflict, KeyEnded, ModelNotFound, NameImmutable, NameTaken, NotFound,
    PayloadTooLarge, RequestTimeout, RotationOpen, ScopeNotGrantable, UnsupportedMediaType, UpstreamError,
    ValidationFailed,
};

/// One call.
pub struct Call {
    /// The method, or `ANY`.
    pub method: &'static str,
    /// The path, as in the permission table.
    pub path: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// What it takes as its body.
    pub body: Body,
    /// Parameters of the query: name, meaning, schema.
    pub query: Vec<(&'static str, &'static str, Value)>,
    /// Whether `Idempotency-Key` is heeded.
    pub idempotent: bool,
    /// The status of success.
    pub status: u16,
    /// What it answers.
    pub answer: Answer,
    /// Codes of refusals, but for those that come from the permission, the body and the path.
    pub codes: &'static [Code],
}

/// What a call takes as its body.
pub enum Body {
    /// Nothing.
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// JSON of this schema, or nothing.
    OptionalJson(&'static str),
    /// JSON that goes to the model as it is.
    Passed,
    /// A form with a token (RFC 7662).
    Token,
}

/// What a call answers.
pub enum Answer {
    /// Nothing but headers.
    Empty,
    /// JSON of this schema.
    Json(&'static str),
    /// The key object with a new secret.
    Minted,
    /// Text of some form.
    Text(&'static str),
    /// JSON in the form of the OpenAI API, or of another standard.
    Object(&'static str),
    /// The same, or server-sent events if the body asks for a stream.
    Streamed(&'static str),
}

impl Call {
    fn new(method: &'static str, path: &'static str, summary: &'static str, answer: Answer) -> Call {
        let (body, query) = (Body::None, Vec::new());
        Call { method, path, summary, body, query, idempotent: false, status: 200, answer, codes: &[] }
    }

    fn takes(self, body: Body) -> Call {
        Call { body, ..self }
    }

    fn asks(mut self, name: &'static str, meaning: &'static str, schema: Value) -> Call {
        self.query.push((name, meaning, schema));
        self
    }

    fn refuses(self, codes: &'static [Code]) -> Call {
        Call { codes, ..self }
    }

    /// Codes of refusals that come from the body and the path.
    pub fn own_codes(&self) -> Vec<Code> {
        let mut codes = self.codes.to_vec();
        match self.body {
            Body::None => {}
            Body::Token => codes.extend([RequestTimeout, PayloadTooLarge, UnsupportedMediaType]),
            _ => codes.extend([RequestTimeout, PayloadTooLarge, UnsupportedMediaType, ValidationFailed]),
        }
        if self.path.contains("{id}") {
            codes.push(NotFound);
        }
        codes
    }
}

/// All calls, in the order in which they are shown.
pub fn calls() -> Vec<Call> {
    use Answer::{Empty, Json, Minted, Object, Streamed, Text};
    let time = || json!({"type": "string", "format": "date-time"});
    let id = |kind| json!({"type": "string", "pattern": format!("^{kind}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$")});
    let text = || json!({"type": "string", "maxLength": 100});
    let number = |least: u64| json!({"type": "integer", "minimum": least});
    let names = |names: Vec<&str>| json!({"type": "string", "enum": names});
    let statuses = names(Status::ALL.map(Status::name).to_vec());
    let scopes = names(Scope::ALL.map(Scope::name).to_vec());
    let scope = Scope::ALL.map(Scope::name).join("|");
    let scope_list =
        json!({"type": "string", "pattern": format!("^[ ,]*(({scope})([ ,]+({scope}))*[ ,]*)?$")});
    let authorize = |path, summary| {
        Call::new("ANY", path, summary, Empty)
            .asks("scope", "Scopes that are needed, separated by spaces or commas.", scope_list.clone())
            .asks("deny", "403 turns every refusal into a 403 with `X-Keydesk-Code`.", names(vec!["403"]))
    };
    let passed = |path, summary, what| {
        Call::new("POST", path, summary, Streamed(what)).takes(Body::Passed).refuses(&[
            ModelNotFound,
            Conflict,
            UpstreamError,
        ])
    };
    let models = |path| {
        Call::new(
            "GET",
            path,
            "List what can be called",
            Object("A list of models, as OpenAI's `GET /models`."),
        )
        .refuses(&[UpstreamError])
    };
    vec![
        Call { status: 201, idempotent: true, ..Call::new("POST", "/v1/api-keys", "Create a key", Minted) }
            .takes(Body::Json("CreateBody"))
            .refuses(&[ScopeNotGrantable, Forbidden, NameTaken, IdempotencyConflict]),
        Call::new("GET", "/v1/api-keys", "List keys", Json("Page"))
            .asks("status", "Keys in this status; `active` includes `expiring`.", statuses)
            .asks("scope", "Keys that hold this scope.", scopes.clone())
            .asks("owner", "Keys of this member.", id("user"))
            .asks("q", "Words in the name, or a fingerprint.", json!({"type": "string", "maxLength": 200}))
            .asks(
                "fingerprint",
                "8 to 64 digits of the key's SHA-256.",
                json!({"type": "string", "pattern": "^[0-9a-fA-F]{8,64}$"}),
            )
            .asks(
                "limit",
                "How many at most.",
                json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50}),
            )
            .asks(
                "cursor",
                "`next_cursor` of the answer before.",
                json!({"type": "string", "pattern": "^key_[0-7][0-9a-hjkmnp-tv-z]{25}$"}),
            )
            .refuses(&[ValidationFailed]),
        Call::new("GET", "/v1/api-keys/self", "Show the caller's own key", Json("ApiKey"))
            .refuses(&[NotFound]),
        Call::new("GET", "/v1/api-keys/{id}", "Show a key", Json("ApiKey")),
        Call::new("PATCH", "/v1/api-keys/{id}", "Change a key", Json("ApiKey"))
            .takes(Body::Json("PatchBody"))
            .refuses(&[ScopeNotGrantable, Forbidden, KeyEnded, NameImmutable]),
        Call::new("POST", "/v1/api-keys/{id}/revoke", "Revoke a key", Json("ApiKey"))
            .takes(Body::OptionalJson("RevokeBody"))
            .refuses(&[Forbidden]),
        Call {
            status: 204,
            ..Call::new("DELETE", "/v1/api-keys/{id}", "Revoke a key, without an answer", Empty)
        }
        .refuses(&[Forbidden]),
        Call {
            idempotent: true,
            ..Call::new("POST", "/v1/api-keys/{id}/rotate", "Give a key a new secret", Minted)
        }
        .takes(Body::OptionalJson("RotateBody"))
        .refuses(&[Forbidden, KeyEnded, RotationOpen, IdempotencyConflict]),
        Call::new("POST", "/v1/api-keys/{id}/rotation", "Move the old secret's end", Json("ApiKey"))
            .takes(Body::Json("RotationBody"))
            .refuses(&[Forbidden, KeyEnded, Conflict]),
        Call::new("DELETE", "/v1/api-keys/{id}/rotation", "End the old secret now", Json("ApiKey"))
            .refuses(&[Forbidden, KeyEnded]),
        Call::new("POST", "/v1/api-keys/verify", "Verify a key", Json("VerifyAnswer"))
            .takes(Body::Json("VerifyBody")),
        Call::new("POST", "/v1/introspect", "Introspect a key", Object("Token introspection (RFC 7662)."))
            .takes(Body::Token),
        authorize("/v1/authorize", "Authorize a request for a proxy"),
        Call {
            query: Vec::new(),
            ..authorize("/v1/authorize/{rest:.*}", "The same, with the path that was called appended")
        },
        models("/v1/models"),
        models("/v1/inference"),
        Call::new("POST", "/v1/inference", "Answer a prompt", Streamed("InferenceAnswer"))
            .takes(Body::Json("InferenceBody"))
            .refuses(&[ModelNotFound, UpstreamError]),
        passed("/v1/chat/completions", "Answer a chat", "OpenAI's chat completion."),
        passed("/v1/completions", "Complete a text", "OpenAI's completion."),
        passed("/v1/embeddings", "Embed texts", "OpenAI's list of embeddings."),
        passed("/v1/responses", "Create a response", "OpenAI's response."),
        Call::new("GET", "/v1/usage", "Read usage", Json("Usage"))
            .asks("from", "Buckets that reach beyond this instant; 24 hours before `to` if left out.", time())
            .asks("to", "Buckets that begin before this instant; now if left out.", time())
            .asks("bucket", "The width of a bucket; hours are kept for 100 days.", names(vec!["hour", "day"]))
            .asks("group_by", "What to tell apart.", names(vec!["key", "model", "scope"]))
            .asks("key", "Only calls with this key.", id("key"))
            .asks("owner", "Only calls with the keys that this person owns now. A key of a member sees its owner's alone.", id("user"))
            .asks("scope", "Only calls of routes that need this scope.", scopes)
            .asks("model", "Only calls that asked for this model.", json!({"type": "string"}))
            .refuses(&[ValidationFailed]),
        Call::new("GET", "/v1/audit-events", "Read the audit log", Json("AuditEvents"))
            .asks("actor", "Entries by this actor: `user_…`, `key_…`, `system:cli` or `system`.", text())
            .asks("action", "Entries of this action, such as `key.revoked`.", text())
            .asks("target", "Entries about this identifier.", text())
            .asks("from", "Entries of this instant or later.", time())
            .asks("to", "Entries before this instant.", time())
            .asks(
                "limit",
                "How many at most.",
                json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 50}),
            )
            .asks(
                "cursor",
                "`next_cursor` of the answer before.",
                json!({"type": "string", "pattern": "^[0-9]{1,18}$"}),
            )
            .refuses(&[ValidationFailed]),
        Call::new(
            "GET",
            "/v1/audit/checkpoint",
            "Read the signed state of the audit log",
            Text("A signed note (c2sp.org/tlog-checkpoint)."),
        ),
        Call::new("GET", "/v1/audit/proof", "Prove what the audit log holds", Json("AuditProof"))
            .asks("index", "The entry that the log is to be proven to include.", number(0))
            .asks("from", "The older size with which the log is to be proven to begin.", number(1))
            .asks(
                "size",
                "The size of the log, as a checkpoint tells it; that of now if left out.",
                number(1),
            )
            .refuses(&[ValidationFailed]),
        Call::new("GET", "/v1/openapi.json", "This document", Object("OpenAPI 3.1.")),
    ]
}
