//! The responses of an operation: its success and its errors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::openapi::operations::Answer;
use crate::api::openapi::{Call, header, reference};
use crate::web::permission::Permission;
use crate::web::problem::Code;

/// All responses, by status; those to HEAD have no content.
pub(super) fn responses(call: &Call, is_head: bool) -> Value {
    let permission = call.endpoint.permission;
    let mut responses = Map::new();
    responses.insert(call.operation.status.to_string(), success(call, is_head));
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
        let mut headers = headers(permission, false);
        if [429, 503].contains(&status) {
            headers["Retry-After"] = header("Seconds to wait before trying again.");
        }
        if status == 401 {
            headers["WWW-Authenticate"] = header("Why authentication failed (RFC 6750).");
        }
        let mut response = json!({"description": format!("`{}`", codes.join("`, `")), "headers": headers});
        if !is_head {
            response["content"] = json!({"application/problem+json": {"schema": reference("Problem")}});
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn success(call: &Call, is_head: bool) -> Value {
    let permission = call.endpoint.permission;
    let mut headers = headers(permission, true);
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
        Answer::Object(what) => (*what, Some(json!({"application/json": {"schema": {"type": "object"}}}))),
        Answer::Streamed(what) => {
            let schema = if what.ends_with('.') { json!({"type": "object"}) } else { reference(what) };
            let content = json!({"application/json": {"schema": schema}, "text/event-stream": {}});
            (if what.ends_with('.') { *what } else { "Success." }, Some(content))
        }
    };
    let mut response = json!({"description": description, "headers": headers});
    if let Some(content) = content.filter(|_| !is_head) {
        response["content"] = content;
    }
    response
}

/// Headers of every response. Those about the limit are certain only where the key was accepted.
fn headers(permission: Permission, is_success: bool) -> Value {
    let mut headers = json!({"X-Request-Id": {"description": "Identifies this request.", "required": true, "schema": {"type": "string"}}});
    if permission != Permission::Public {
        for (name, meaning) in [
            ("RateLimit-Policy", "The key's limit."),
            ("RateLimit", "The requests that remain, and the seconds until the limit is full again."),
            ("X-RateLimit-Limit", "Requests per minute."),
            ("X-RateLimit-Remaining", "Requests that remain."),
            ("X-RateLimit-Reset", "Seconds until the limit is full again."),
        ] {
            headers[name] = header(meaning);
            headers[name]["required"] = is_success.into();
        }
        headers["X-Key-Expires-At"] =
            header("When the key or this secret expires; sent in its last 14 days.");
        headers["X-Key-Superseded"] = header("`true` if a rotation has replaced this secret.");
    }
    headers
}
