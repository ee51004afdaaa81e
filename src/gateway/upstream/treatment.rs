//! What becomes of each response of the upstream, and of its absence.
//!
//! A client retries exactly as it would without Keydesk, except where a repetition can't help or would be paid for
//! twice. What the upstream says about its own failure, or about Keydesk's credential, appears only in the log.

use std::time::Duration;

use actix_web::http::header::HeaderName;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::gateway::upstream::failure::{Patience, chain, silence};
use crate::web::problem::{Code, Problem};

/// The headers that say whether and when a client may retry.
const RETRY_HEADERS: [&str; 3] = ["retry-after", "retry-after-ms", "x-should-retry"];

/// What becomes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treatment {
    /// The client gets it.
    PassOn,
    /// The client gets it, but it is a failure of the upstream, such as a limit of the operator's account.
    PassOnAsFailure,
    /// Its content decides: it is about the model or the prompt, or about Keydesk's credential.
    ReadFirst,
    /// Keydesk's credential was refused.
    Credential,
    /// It leads to another address.
    Redirect,
    /// The upstream is overloaded.
    Overloaded,
    /// It is invalid, such as a success without content.
    Invalid,
    /// The upstream failed.
    Failed,
}

impl Treatment {
    pub(super) fn of_status(status: u16) -> Treatment {
        match status {
            200..=203 => Treatment::PassOn,
            402 | 429 => Treatment::PassOnAsFailure,
            401 | 407 => Treatment::Credential,
            403 => Treatment::ReadFirst,
            400..=499 => Treatment::PassOn,
            300..=399 => Treatment::Redirect,
            503 | 529 => Treatment::Overloaded,
            // Their missing content would break the framing of the connection.
            100..=299 => Treatment::Invalid,
            _ => Treatment::Failed,
        }
    }

    /// The problem that the client gets, unless the response is passed on.
    pub(super) fn problem(self, status: u16, headers: &HeaderMap) -> Problem {
        let problem = match self {
            Treatment::Credential | Treatment::ReadFirst => Problem::new(
                Code::UpstreamError,
                "The upstream refused Keydesk's own credential. Only the operator can correct this; the log names \
                 the cause under the id of this request.",
            )
            .without_retry(),
            Treatment::Redirect => Problem::new(
                Code::UpstreamError,
                "The upstream redirects to another address, which Keydesk does not follow. The operator has to \
                 correct the upstream's URL.",
            )
            .without_retry(),
            Treatment::Invalid => Problem::new(
                Code::UpstreamError,
                format!("The upstream's response has the status {status}, which is not valid here."),
            )
            .without_retry(),
            Treatment::Overloaded => Problem::new(
                Code::Unavailable,
                format!("The upstream is overloaded (status {status}). Keydesk itself works. Try again later."),
            )
            .with_title("The upstream is overloaded"),
            Treatment::PassOn | Treatment::PassOnAsFailure | Treatment::Failed => Problem::new(
                Code::UpstreamError,
                format!("The upstream failed with status {status}. Keydesk itself works. Try again later."),
            ),
        };
        if !matches!(self, Treatment::Overloaded | Treatment::Failed) {
            return problem;
        }
        RETRY_HEADERS.iter().fold(problem, |problem, name| {
            match headers.get(*name).and_then(|value| value.to_str().ok()) {
                Some(value) => problem.with_header(HeaderName::from_static(name), value),
                None => problem,
            }
        })
    }
}

/// Whether a 403 is about the model or the prompt, which the client can correct, and not about Keydesk's credential.
pub(super) fn is_about_request(content: &[u8]) -> bool {
    let Ok(content) = serde_json::from_slice::<Value>(content) else { return false };
    let error = content.get("error").unwrap_or(&content);
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_ascii_lowercase();
    let (code, kind, message) = (text("code"), text("type"), text("message"));
    let has = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    const PROMPT: [&str; 6] =
        ["moderation", "flagged", "content_policy", "content policy", "content_filter", "safety"];
    if text("param") == "model" || code.starts_with("model_") || has(&code, &PROMPT) || has(&kind, &PROMPT) {
        return true;
    }
    if has(&code, &["key", "scope", "auth", "credential", "account", "region", "country"])
        || has(&message, &["api key", "api-key", "scope", "credential", "token is", "account"])
    {
        return false;
    }
    let names_model = message.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "model");
    const REASONS: [&str; 7] =
        ["access", "exist", "not found", "allowed", "permission", "available", "support"];
    has(&message, &PROMPT) || (names_model && has(&message, &REASONS))
}

/// Why there is no response.
pub(super) struct NoResponse {
    /// For the log.
    pub(super) event: &'static str,
    pub(super) cause: String,
    pub(super) problem: Problem,
}

impl NoResponse {
    /// `patience` is how long the upstream may stay silent, `connecting` how long a connection may take.
    pub(super) fn of(error: reqwest::Error, patience: Patience, connecting: Duration) -> NoResponse {
        let failed = |detail: String| Problem::new(Code::UpstreamError, detail);
        let (event, problem) = match (error.is_connect(), error.is_timeout()) {
            (true, true) => (
                "the upstream did not accept a connection in time",
                failed(format!(
                    "The upstream did not accept a connection within {} s. Try again later.",
                    connecting.as_secs()
                )),
            ),
            (true, false) => (
                "connecting to the upstream failed",
                failed("Keydesk can't connect to the upstream. Try again later.".to_owned()),
            ),
            (false, true) => ("the upstream did not respond in time", silence(patience)),
            (false, false) => (
                "the upstream broke off before its response",
                failed(
                    "The upstream closed the connection, or its response is invalid. Try again later."
                        .to_owned(),
                ),
            ),
        };
        NoResponse { event, cause: chain(&error.without_url()), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_403_about_model_or_prompt_is_the_clients_and_any_other_is_the_operators() {
        for (content, expected) in [
            (
                r#"{"error":{"message":"Project `p` does not have access to model `gpt-4o`","code":"model_not_found"}}"#,
                true,
            ),
            (r#"{"error":{"message":"Project does not have access to model gpt-5","code":null}}"#, true),
            (r#"{"error":{"message":"no","param":"model"}}"#, true),
            (r#"{"error":{"message":"Your input was flagged by moderation","code":403}}"#, true),
            (r#"{"message":"This model is not allowed"}"#, true),
            (
                r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.request","code":"missing_scope"}}"#,
                false,
            ),
            (r#"{"error":{"message":"This API key is not allowed to use this model"}}"#, false),
            (
                r#"{"error":{"message":"Country, region, or territory not supported","code":"unsupported_country_region_territory"}}"#,
                false,
            ),
            (r#"{"error":{"message":"Your account is not active"}}"#, false),
            (r#"{"error":"forbidden"}"#, false),
            ("<html>403 Forbidden model</html>", false),
            ("", false),
        ] {
            assert_eq!(is_about_request(content.as_bytes()), expected, "{content}");
        }
    }
}
