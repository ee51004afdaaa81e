//! The one log line about a failure of the upstream, which names its cause.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::web::problem::{Code, Problem};
use crate::web::redact;
use crate::web::ticket::Ticket;

/// How many characters of the upstream's message are logged.
const MAX_MESSAGE: usize = 300;
/// The headers in which upstreams name a request, the most common first.
const REQUEST_IDS: [&str; 5] =
    ["x-request-id", "request-id", "apim-request-id", "x-amzn-requestid", "cf-ray"];

/// How long an upstream may stay silent.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub time: Duration,
    /// The setting with which the operator can change it.
    pub setting: &'static str,
}

/// The problem of an upstream that was silent for too long. It may have done the work, which would be paid for twice.
pub(super) fn silence(patience: Patience) -> Problem {
    let Patience { time, setting } = patience;
    let detail = format!(
        "The upstream sent nothing for {} s ({setting}), the longest that Keydesk waits. The operator can raise this \
         setting.",
        time.as_secs()
    );
    Problem::new(Code::UpstreamError, detail).without_retry()
}

/// The problem of a response that stopped before its end.
pub fn broken_off() -> Problem {
    Problem::new(Code::UpstreamError, "The upstream broke off its response.")
}

/// An error and all its causes.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes the one log line of a failure of the upstream and counts the request as failed. `message` is the upstream's,
/// or the cause.
pub fn report(ticket: &Ticket, event: &str, message: &str) {
    ticket.record_upstream_failure(event);
    log(ticket, event, message);
}

/// Writes the log line of a failure that another upstream may make up for.
pub(super) fn log(ticket: &Ticket, event: &str, message: &str) {
    let (key, upstream) = (ticket.key(), ticket.upstream());
    tracing::warn!(
        request = ticket.request(), key = %key.key, organisation = %key.org, model = ticket.model(),
        upstream = upstream.name, status = upstream.status, upstream_request = upstream.request,
        milliseconds = ticket.elapsed().as_millis() as u64,
        cause = tidy(&redact::text(message)),
        "{event}"
    );
}

/// Why a response was cut short.
#[derive(Debug)]
pub enum Cut {
    /// The upstream was silent for too long.
    Silence(Patience),
    /// The connection broke, with the cause.
    Broken(String),
    /// The content does not have the encoding that it should have, with the cause.
    Undecodable(String),
}

/// A response that the upstream cut short.
#[derive(Debug)]
pub struct BreakOff {
    pub(super) ticket: Ticket,
    pub(super) cut: Cut,
}

impl BreakOff {
    /// Reports the failure. After all that the client needs, it does no harm and is not reported.
    pub fn report(&self) {
        let event = match self.cut {
            Cut::Silence(_) => "the upstream fell silent within its response",
            Cut::Broken(_) => "the upstream broke off its response",
            Cut::Undecodable(_) => "the upstream's response can't be decoded",
        };
        report(&self.ticket, event, &self.cut.to_string());
    }

    /// The problem that the client gets.
    pub fn problem(&self) -> Problem {
        match self.cut {
            Cut::Silence(patience) => silence(patience),
            Cut::Broken(_) | Cut::Undecodable(_) => broken_off(),
        }
    }
}

impl fmt::Display for BreakOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cut.fmt(f)
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Silence(Patience { time, setting }) => {
                write!(f, "nothing was sent for {} s ({setting})", time.as_secs())
            }
            Cut::Broken(cause) | Cut::Undecodable(cause) => f.write_str(cause),
        }
    }
}

/// The upstream's own id of a request.
pub(super) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let values = REQUEST_IDS.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    values.map(|id| id.get(..128).unwrap_or(id)).find(|id| !id.is_empty())
}

/// The message in the content of an error response, without the credential.
pub(super) fn message(content: &[u8], credential: Option<&SecretString>) -> String {
    let text = String::from_utf8_lossy(content);
    let json: Value = serde_json::from_slice(content).unwrap_or_default();
    let places = [&json["error"]["message"], &json["message"], &json["error"], &json["detail"]];
    let said = places.iter().find_map(|place| place.as_str()).unwrap_or(&text);
    let said = match credential {
        Some(credential) => said.replace(credential.expose_secret(), "[redacted]"),
        None => said.to_owned(),
    };
    tidy(&said)
}

/// A text as one line that is not too long, without what looks like a credential: upstreams repeat parts of a wrong one.
fn tidy(text: &str) -> String {
    let is_credential = |word: &str| word.trim_start_matches(['"', '\'', '`', '(']).starts_with("sk-");
    let words = text.split_whitespace().map(|word| if is_credential(word) { "[redacted]" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_found_in_any_form_and_contain_no_credential() {
        let credential = SecretString::from("upstream-secret");
        for (content, expected) in [
            (r#"{"error":{"message":"bad key upstream-secret"}}"#, "bad key [redacted]"),
            (
                r#"{"error":{"message":"Incorrect API key provided: sk-proj-abc***xyz."}}"#,
                "Incorrect API key provided: [redacted]",
            ),
            (r#"{"error":"overloaded"}"#, "overloaded"),
            (r#"{"detail":"Not\nFound"}"#, "Not Found"),
            ("boom", "boom"),
            ("", ""),
        ] {
            assert_eq!(message(content.as_bytes(), Some(&credential)), expected);
        }
        assert_eq!(message("x".repeat(1000).as_bytes(), None).len(), MAX_MESSAGE);
    }
}
