//! What a call answers, and how it refuses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::api::openapi::calls::{Answer, Call};
use crate::api::openapi::{header, reference};
use crate::web::permission::Permission;
use crate::web::problem::Code;

/// All answers of a call, by status.
pub(super) fn responses(call: &Call, permission: Permission, head: bool) -> Value {
    let mut responses = Map::new();
    responses.insert(call.status.to_string(), success(call, permission, head));
    let mut codes = call.own_codes();
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
    if matches!(permission, Permission::Key(_) | Permission::AdminOrSelf | Permission::Asked) {
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
        if !head {
            response["content"] = json!({"application/problem+json": {"schema": reference("Problem")}});
        }
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

fn success(call: &Call, permission: Permission, head: bool) -> Value {
    let mut headers = headers(permission, true);
    let (description, content) = match &call.answer {
        Answer::Empty => {
            if permission == Permission::Asked {
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
        Answer::Minted => {
            if call.status == 201 {
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
    if let Some(content) = content.filter(|_| !head) {
        response["content"] = content;
    }
    response
}

/// Headers that come with every answer, and with every one to a key that was proven.
fn headers(permission: Permission, proven: bool) -> Value {
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
            headers[name]["required"] = proven.into();
        }
        headers["X-Key-Expires-At"] =
            header("The end of the key or of this secret of it, in the last 14 days.");
        headers["X-Key-Superseded"] = header("`true` where a rotation has replaced this secret.");
    }
    headers
}
