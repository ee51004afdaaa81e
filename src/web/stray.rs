//! Requests of programs to paths that are not part of the API. Most come from clients whose base URL lacks `/v1`, so
//! they get a problem document that names the base URL, not a page.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderName};

use crate::path::{self, Pattern};
use crate::web::Shared;
use crate::web::principal::refuse_key_in_url;
use crate::web::problem::{Code, Problem};

/// First segments of the paths that clients of other model servers request, beside those of Keydesk's own API.
const OF_CLIENTS: [&str; 20] = [
    "assistants",
    "audio",
    "batches",
    "conversations",
    "deployments",
    "engines",
    "files",
    "fine_tuning",
    "images",
    "messages",
    "moderations",
    "openai",
    "realtime",
    "rerank",
    "threads",
    "uploads",
    "v1",
    "v1beta",
    "vector_stores",
    "videos",
];
/// Headers in which programs send API keys.
const CREDENTIALS: [HeaderName; 3] =
    [header::AUTHORIZATION, HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// Whether a path would be one of an API if the client's base URL were right.
fn is_misplaced(path: &str) -> bool {
    let Some(first) = path.split('/').find(|segment| !segment.is_empty()) else { return false };
    let of_api = |pattern: &Pattern| pattern.as_str().split('/').nth(2) == Some(first);
    OF_CLIENTS.contains(&first) || Pattern::ALL.iter().filter(|pattern| pattern.is_api()).any(of_api)
}

/// Whether the client is a program that reads problem documents. Browsers accept HTML wherever they navigate.
pub fn is_program(request: &HttpRequest) -> bool {
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (accept, kind) = (text(header::ACCEPT).to_ascii_lowercase(), text(header::CONTENT_TYPE));
    let is_browser = accept.contains("text/html") || request.headers().contains_key("hx-request");
    let sends_key = CREDENTIALS.iter().any(|name| request.headers().contains_key(name));
    let speaks_json = accept.contains("json") || kind.to_ascii_lowercase().starts_with("application/json");
    !is_browser && (sends_key || speaks_json || is_misplaced(request.path()))
}

/// The response to a path without a route.
pub fn no_route(request: &HttpRequest) -> Problem {
    let path = request.path();
    let is_api = path::is_api(path) || path == path::API;
    if !is_api && !is_program(request) {
        return Problem::not_found();
    }
    if let Err(problem) = refuse_key_in_url(request) {
        return problem;
    }
    let base = base_url(request);
    let remedy = if !is_api {
        format!("The paths of the API begin with /v1: set the base URL of your client to {base}.")
    } else if path.split('/').nth(2) == Some("v1") {
        format!("Its path contains /v1 twice: the base URL of the API is {base}.")
    } else {
        format!("The base URL of the API is {base}, and {base}/openapi.json lists its routes.")
    };
    Problem::new(Code::NotFound, format!("This gateway has no such route. {remedy}"))
}

/// The base URL of the API.
pub fn base_url(request: &HttpRequest) -> String {
    let origin = request.app_data::<Shared>().map(|site| site.public_url.origin().to_owned());
    format!("{}{}", origin.unwrap_or_default(), path::API)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_of_a_page_looks_like_one_of_the_api() {
        for pattern in Pattern::ALL {
            assert!(pattern.is_api() || !is_misplaced(pattern.as_str()), "{pattern:?}");
        }
        for path in ["/chat/completions", "/models", "//embeddings", "/openai/deployments/x/chat/completions"]
        {
            assert!(is_misplaced(path), "{path}");
        }
        for path in ["/", "//", "/favicon.png", "/modelsx", "/wp-login.php"] {
            assert!(!is_misplaced(path), "{path}");
        }
    }
}
