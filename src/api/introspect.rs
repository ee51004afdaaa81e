//! `POST /v1/introspect`: token introspection (RFC 7662).

use std::time::Instant;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use crate::keys::secret::PlainSecret;
use crate::time::Time;
use crate::verify::decision::{self, effective_scopes};
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::principal::KeyCaller;
use crate::web::problem::{Code, Problem};

/// Describes an active key of the calling key's organisation. Everything else gets the same response,
/// `{"active": false}` (RFC 7662 section 2.2). A key restricted to addresses counts as inactive, since the
/// request doesn't say from where it is used; so does a key without effective scopes.
pub async fn introspect(
    site: Shared,
    caller: KeyCaller,
    request: HttpRequest,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let kind =
        request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        let detail = "Send the body as `Content-Type: application/x-www-form-urlencoded`.";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    if fields.all("token").len() != 1 {
        return Err(Problem::bad_request("Send the key once, as the field token."));
    }
    if fields.all("client_secret").iter().any(|secret| !secret.is_empty()) {
        return Err(Problem::bad_request(
            "Send the credential only in the Authorization header, not as client_secret.",
        ));
    }
    let found = match PlainSecret::parse(fields.get("token")) {
        Some(secret) => site.table.look_up(&site.db, &site.defaults.keyring, &secret, Instant::now()).await?,
        None => None,
    };
    let now = Time::now();
    let active = found.filter(|key| {
        let works = decision::is_alive(key, now).is_ok() && !effective_scopes(key, now).is_empty();
        works && key.org == caller.key.org && key.settings.allowed_ips.allow_any()
    });
    let Some(key) = active else { return Ok(HttpResponse::Ok().json(json!({ "active": false }))) };
    let mut answer = json!({
        "active": true,
        "scope": effective_scopes(&key, now).text(),
        "client_id": key.key,
        "username": key.name,
        "token_type": "Bearer",
        "sub": key.owner,
        "iss": site.public_url.origin(),
        "jti": key.secret,
    });
    if let Some(end) = key.ends_at() {
        answer["exp"] = end.seconds().into();
    }
    Ok(HttpResponse::Ok().json(answer))
}
