//! The responses of an operation: its success and its errors. Operations share errors and headers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::openapi::operations::Answer;
use crate::api::openapi::{Call, header, reference};
use crate::web::permission::Permission;
use crate::web::problem::Code;

/// Headers about the calling key, with their meaning, and whether every accepted request gets them.
const ABOUT_KEY: [(&str, &str, bool); 7] = [
    ("RateLimit-Policy", "The key's limit.", true),
    ("RateLimit", "The requests that remain, and the seconds until the limit is full again.", true),
    ("X-RateLimit-Limit", "Requests per minute.", true),
    ("X-RateLimit-Remaining", "Requests that remain.", true),
    ("X-RateLimit-Reset", "Seconds until the limit is full again.", true),
    ("X-Key-Expires-At", "When the key or this secret expires; sent in its last 14 days.", false),
    ("X-Key-Superseded", "`true` if a rotation has replaced this secret.", false),
];

/// Headers and errors that operations refer to, by name.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) headers: Map<String, Value>,
    pub(super) responses: Map<String, Value>,
}

impl Shared {
    /// All responses of an operation, by status.
    pub(super) fn responses(&mut self, call: &Call) -> Value {
        let permission = call.endpoint.permission;
        let mut responses = Map::new();
        responses.insert(call.operation.status.to_string(), self.success(call));
        let mut codes = call.operation.codes(call.names_key());
        codes.extend([Code::InvalidRequest, Code::Internal]);
        if permission != Permission::Public {
            codes.extend([Code::MissingCredential, Code::InvalidToken, Code::KeyExpired, Code::KeyRevoked]);
            codes.extend([
                Code::KeySuperseded,
                Code::KeyDisabled,
                Code::IpNotAllowed,
                Code::RateLimited,
                Code::Unavailable,
            ]);
        }
        if matches!(permission, Permission::Key(_) | Permission::AdminOrSelf | Permission::ScopesInQuery) {
            codes.push(Code::InsufficientScope);
        }
        let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for code in Code::ALL.iter().filter(|code| codes.contains(code)) {
            by_status.entry(code.status().as_u16()).or_default().push(code.name());
        }
        for (status, codes) in by_status {
            responses.insert(status.to_string(), self.error(status, &codes, permission));
        }
        Value::Object(responses)
    }

    /// A reference to the response for these codes of one status.
    fn error(&mut self, status: u16, codes: &[&str], permission: Permission) -> Value {
        let is_public = permission == Permission::Public;
        let mut name = match status {
            401 => "Unauthorized".to_owned(),
            _ => codes.iter().map(|code| camel_case(code)).collect::<Vec<_>>().join("Or"),
        };
        if is_public {
            name.push_str("WithoutKey");
        }
        if !self.responses.contains_key(&name) {
            let mut headers = self.headers_of(permission, false);
            if [429, 503].contains(&status) {
                headers["Retry-After"] =
                    self.header("Retry-After", "Seconds to wait before trying again.", false);
            }
            if status == 401 {
                headers["WWW-Authenticate"] =
                    self.header("WWW-Authenticate", "Why authentication failed (RFC 6750).", false);
            }
            let response = json!({
                "description": format!("`{}`", codes.join("`, `")),
                "headers": headers,
                "content": {"application/problem+json": {"schema": reference("Problem")}},
            });
            self.responses.insert(name.clone(), response);
        }
        json!({"$ref": format!("#/components/responses/{name}")})
    }

    fn success(&mut self, call: &Call) -> Value {
        let permission = call.endpoint.permission;
        let mut headers = self.headers_of(permission, true);
        let (description, content) = match &call.operation.answer {
            Answer::Empty => {
                if permission == Permission::ScopesInQuery {
                    for (name, meaning) in [
                        ("X-Keydesk-Key-Id", "The key's id."),
                        ("X-Keydesk-Key-Name", "The key's name, percent-encoded."),
                        ("X-Keydesk-Org", "The organisation's slug."),
                        ("X-Keydesk-Scopes", "The scopes that are effective now."),
                    ] {
                        headers[name] = header(meaning);
                    }
                }
                ("Success.", None)
            }
            Answer::Json(schema) => {
                ("Success.", Some(json!({"application/json": {"schema": reference(schema)}})))
            }
            Answer::CreatedSecret => {
                if call.operation.status == 201 {
                    headers["Location"] = header("The URL of the key.");
                }
                headers["Idempotency-Replayed"] = json!({"description": "`true` if this repeats the response to an earlier request.", "schema": {"type": "string"}});
                let secret = json!({
                    "key": {"type": ["string", "null"], "description": "The secret, returned only once; null in a replay after ten minutes."},
                    "code": {"type": "string", "enum": ["secret_already_shown"]},
                });
                let schema = json!({"allOf": [reference("ApiKey"), {"type": "object", "required": ["key"], "properties": secret}]});
                ("The key object with its secret.", Some(json!({"application/json": {"schema": schema}})))
            }
            Answer::Text(what) => (*what, Some(json!({"text/plain": {"schema": {"type": "string"}}}))),
            Answer::Object(what) => {
                (*what, Some(json!({"application/json": {"schema": {"type": "object"}}})))
            }
            Answer::Streamed(what) => {
                let schema = if what.ends_with('.') { json!({"type": "object"}) } else { reference(what) };
                let content = json!({"application/json": {"schema": schema}, "text/event-stream": {}});
                (if what.ends_with('.') { *what } else { "Success." }, Some(content))
            }
        };
        let mut response = json!({"description": description, "headers": headers});
        if let Some(content) = content {
            response["content"] = content;
        }
        response
    }

    /// References to the headers of every response. Those about the limit are certain only where the key was accepted.
    fn headers_of(&mut self, permission: Permission, is_success: bool) -> Value {
        let mut headers =
            json!({"X-Request-Id": self.header("X-Request-Id", "Identifies this request.", true)});
        if permission != Permission::Public {
            for (name, meaning, is_certain) in ABOUT_KEY {
                headers[name] = self.header(name, meaning, is_success && is_certain);
            }
        }
        headers
    }

    /// A reference to a header.
    fn header(&mut self, name: &str, meaning: &str, is_required: bool) -> Value {
        let key = if is_required { name.to_owned() } else { format!("{name}-optional") };
        let reference = json!({"$ref": format!("#/components/headers/{key}")});
        let mut header = header(meaning);
        if is_required {
            header["required"] = true.into();
        }
        self.headers.insert(key, header);
        reference
    }
}

/// `key_expired` as `KeyExpired`.
fn camel_case(code: &str) -> String {
    let upper = |word: &str| word[..1].to_uppercase() + &word[1..];
    code.split('_').map(upper).collect()
}
