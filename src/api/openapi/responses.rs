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
            headers["Retry-After"] = header("Seconds until it is worth trying again.");
        }
        if status == 401 {
            headers["WWW-Authenticate"] = header("What is missing (RFC 6750).");
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
                    ("X-Keydesk-Key-Id", "Whose key it is."),
                    ("X-Keydesk-Key-Name", "The key's name, percent-encoded."),
                    ("X-Keydesk-Org", "The organisation's slug."),
                    ("X-Keydesk-Scopes", "What the key may do now."),
                ] {
                    headers[name] = header(meaning);
                }
            }
            ("Done.", None)
        }
        Answer::Json(schema) => {
            ("The answer.", Some(json!({"application/json": {"schema": reference(schema)}})))
        }
        Answer::CreatedSecret => {
            if call.operation.status == 201 {
                headers["Location"] = header("Where the key is shown from now on.");
            }
            headers["Idempotency-Replayed"] = json!({"description": "`true` for the answer of an earlier request.", "schema": {"type": "string"}});
            let secret = json!({
                "key": {"type": ["string", "null"], "description": "The key itself, this once; null in a replay after ten minutes."},
                "code": {"type": "string", "enum": ["secret_already_shown"]},
            });
            let schema = json!({"allOf": [reference("ApiKey"), {"type": "object", "required": ["key"], "properties": secret}]});
            ("The key object with the key itself.", Some(json!({"application/json": {"schema": schema}})))
        }
        Answer::Text(what) => (*what, Some(json!({"text/plain": {"schema": {"type": "string"}}}))),
        Answer::Object(what) => (*what, Some(json!({"application/json": {"schema": {"type": "object"}}}))),
        Answer::Streamed(what) => {
            let schema = if what.ends_with('.') { json!({"type": "object"}) } else { reference(what) };
            let content = json!({"application/json": {"schema": schema}, "text/event-stream": {}});
            (if what.ends_with('.') { *what } else { "The answer." }, Some(content))
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
    let mut headers = json!({"X-Request-Id": {"description": "Names this request.", "required": true, "schema": {"type": "string"}}});
    if permission != Permission::Public {
        for (name, meaning) in [
            ("RateLimit-Policy", "The key's limit."),
            ("RateLimit", "What is left of it, and when it is whole again."),
            ("X-RateLimit-Limit", "Requests a minute."),
            ("X-RateLimit-Remaining", "Requests that are left."),
            ("X-RateLimit-Reset", "Seconds until all are there again."),
        ] {
            headers[name] = header(meaning);
            headers[name]["required"] = is_success.into();
        }
        headers["X-Key-Expires-At"] =
            header("The end of the key or of this secret of it, in the last 14 days.");
        headers["X-Key-Superseded"] = header("`true` where a rotation has replaced this secret.");
    }
    headers
}
