//! Cross-origin resource sharing (WHATWG Fetch, section 3.2): pages of the origins in `KEYDESK_CORS_ORIGINS` may call the
//! API. Cookies play no part, as the API ignores them. `/v1/authorize` is left out: its requests come from proxies, whose
//! clients' preflights are not Keydesk's to answer.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};

use crate::path::{self, Pattern};
use crate::web::Shared;

/// How long a browser may keep the answer to a preflight, in seconds. Chromium keeps none for longer.
const MAX_AGE: &str = "7200";
/// The most header names of a preflight that are considered.
const MOST_HEADERS: usize = 100;
/// Request headers that clients of the API send, beside those that CORS always allows.
const HEADERS: [&str; 11] = [
    "authorization",
    "baggage",
    "content-type",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-api-key",
    "x-client-request-id",
    "x-request-id",
    "x-requested-with",
];
/// Prefixes of the headers that the OpenAI and Anthropic clients add.
const PREFIXES: [&str; 3] = ["openai-", "x-stainless-", "anthropic-"];
/// Response headers that pages may read.
const EXPOSED: &str = "X-Request-Id, Retry-After, Retry-After-Ms, RateLimit, RateLimit-Policy, X-RateLimit-Limit, \
     X-RateLimit-Remaining, X-RateLimit-Reset, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, \
     X-RateLimit-Reset-Requests, X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens, \
     X-Should-Retry, X-Key-Expires-At, X-Key-Superseded, Idempotency-Replayed, Location, WWW-Authenticate";

/// The response to a preflight. `None` if the request is none, or comes from a page of another origin.
pub fn preflight(request: &HttpRequest, methods: &str) -> Option<HttpResponse> {
    let site = request.app_data::<Shared>()?;
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN)?;
    let is_preflight =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight || !site.cors_origins.iter().any(|allowed| origin.as_bytes() == allowed.as_bytes()) {
        return None;
    }
    let mut response = HttpResponse::build(StatusCode::NO_CONTENT);
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods));
    response.insert_header((header::ACCESS_CONTROL_MAX_AGE, MAX_AGE));
    response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(headers)));
    Some(response.finish())
}

/// The allowed ones of the headers that a preflight names, so that the list is not longer than it has to be.
fn allowed_headers(headers: &HeaderMap) -> String {
    let names = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS);
    let names = names.filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(','));
    let names = names.take(MOST_HEADERS).map(|name| name.trim().to_ascii_lowercase());
    let allowed: Vec<String> = names.filter(|name| is_allowed(name)).collect();
    if allowed.is_empty() { HEADERS.join(", ") } else { allowed.join(", ") }
}

fn is_allowed(name: &str) -> bool {
    let fits = HEADERS.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    fits && HeaderName::from_bytes(name.as_bytes()).is_ok()
}

/// Lets the pages of an allowed origin read a response of the API.
pub fn share(origins: &[String], path: &str, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if origins.is_empty() || !path::is_api(path) || path.starts_with(Pattern::v1_authorize.as_str()) {
        return;
    }
    // Without an origin too, so that no cache gives the response to a page.
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) =
        origin.filter(|origin| origins.iter().any(|allowed| origin.as_bytes() == allowed.as_bytes()))
    {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}
