//! How streams of each route end, and how they report errors.

use std::collections::BTreeMap;

use actix_web::http::header;
use serde_json::{Value, json};

use crate::gateway::reply::Route;
use crate::gateway::tokens::Facts;
use crate::gateway::tokens::facts::MAX_CHOICES;
use crate::web::problem::{Code, Problem};

/// The end of a stream of chat completions and completions; some servers end all streams with it.
pub const DONE: &[u8] = b"[DONE]";

/// The longest text of an upstream that is quoted or logged, in characters.
const MAX_QUOTE: usize = 300;

/// The form of a route's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Chat completions and completions: chunks with choices, then `[DONE]`.
    Chunks,
    /// Responses: named events.
    Responses,
    /// Not streamed.
    Whole,
}

/// The state of a stream.
#[derive(Debug, Default)]
pub struct Progress {
    /// Whether an event said that the response is complete.
    is_ended: bool,
    /// Whether each choice that was started is finished.
    choices: BTreeMap<u64, bool>,
}

/// An error that an upstream reported within a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct StreamError {
    /// The error as JSON, or as text.
    error: String,
    /// Whether the client's library recognises the event as an error.
    pub is_in_form: bool,
}

impl Protocol {
    /// The form of a route's streams.
    pub fn of(route: Route) -> Protocol {
        match route {
            Route::Chat | Route::Completions => Protocol::Chunks,
            Route::Responses => Protocol::Responses,
            Route::Embeddings => Protocol::Whole,
        }
    }

    /// Whether the upstream reports usage in streams only on request (`stream_options.include_usage`).
    pub fn reports_usage_on_request(self) -> bool {
        self == Protocol::Chunks
    }

    /// The error that an event reports. `start` is the beginning of its data.
    pub fn error(self, name: &str, start: &[u8], facts: &Facts) -> Option<StreamError> {
        let is_failure = facts.kind == "response.failed";
        if let Some(error) = &facts.error {
            let is_in_form = self == Protocol::Responses || !is_failure;
            return Some(StreamError { error: error.clone(), is_in_form });
        }
        if name == "error" || facts.kind == "error" || is_failure {
            let error = String::from_utf8_lossy(start).into_owned();
            let is_in_form = self == Protocol::Responses && (facts.kind == "error" || is_failure);
            return Some(StreamError { error, is_in_form });
        }
        let reason = facts.choices.values().flatten().find(|reason| *reason == "error")?;
        Some(StreamError { error: format!("a choice ended with the reason {reason:?}"), is_in_form: false })
    }
}

impl Progress {
    /// Takes an event without an error.
    pub fn take(&mut self, start: &[u8], facts: &Facts) {
        let is_last = matches!(&*facts.kind, "response.completed" | "response.incomplete");
        self.is_ended |= is_last || start.trim_ascii() == DONE;
        for (index, reason) in &facts.choices {
            if self.choices.len() < MAX_CHOICES || self.choices.contains_key(index) {
                *self.choices.entry(*index).or_default() |= reason.is_some();
            }
        }
    }

    /// Whether a stream that ends here is complete.
    pub fn is_complete(&self, protocol: Protocol) -> bool {
        let is_finished = !self.choices.is_empty() && self.choices.values().all(|finished| *finished);
        self.is_ended || is_finished || protocol == Protocol::Whole
    }
}

/// What an error in a stream is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// The upstream refuses its own credential.
    Credential,
    RateLimit,
    Overload,
    Other,
}

impl StreamError {
    /// The upstream's words, shortened.
    pub fn message(&self) -> String {
        let error = self.value();
        let message = [&error["message"], &error["detail"], &error].into_iter().find_map(Value::as_str);
        let message = message.unwrap_or(&self.error);
        message.chars().filter(|letter| !letter.is_control()).take(MAX_QUOTE).collect()
    }

    /// Whether the client may see the event. Errors about the upstream's credential are the operator's.
    pub fn may_be_passed_on(&self) -> bool {
        self.is_in_form && self.cause() != Cause::Credential
    }

    /// The problem that describes the error.
    pub fn problem(&self) -> Problem {
        match self.cause() {
            Cause::Credential => Problem::new(Code::UpstreamError, "The upstream returned an error."),
            Cause::RateLimit => {
                let detail =
                    format!("A limit of the upstream was reached, not of this key: {}", self.message());
                Problem::new(Code::RateLimited, detail).with_header(header::RETRY_AFTER, "1")
            }
            Cause::Overload => {
                Problem::new(Code::Unavailable, format!("The upstream is overloaded: {}", self.message()))
            }
            Cause::Other => Problem::new(
                Code::UpstreamError,
                format!("The upstream returned an error: {}", self.message()),
            ),
        }
    }

    /// The data of an event that clients recognise as an error: the upstream's own error, if the client may see it.
    pub fn event(&self) -> Value {
        let error = self.value();
        if self.cause() == Cause::Credential || !error["message"].is_string() {
            return self.problem().event();
        }
        json!({ "error": error })
    }

    /// The error as JSON; null if it is only text.
    fn value(&self) -> Value {
        let mut error: Value = serde_json::from_str(&self.error).unwrap_or(Value::Null);
        if error["error"].is_null() { error } else { error["error"].take() }
    }

    fn cause(&self) -> Cause {
        let error = self.value();
        let mut cause = Cause::Other;
        for name in ["code", "status", "status_code", "type"] {
            let said = match &error[name] {
                Value::String(text) => text.to_ascii_lowercase(),
                Value::Number(number) => number.to_string(),
                _ => continue,
            };
            let found = match &*said {
                "401"
                | "403"
                | "invalid_api_key"
                | "authentication_error"
                | "permission_error"
                | "permission_denied"
                | "unauthenticated" => Cause::Credential,
                "429"
                | "rate_limit_error"
                | "rate_limit_exceeded"
                | "rate_limited"
                | "resource_exhausted"
                | "too_many_requests"
                | "insufficient_quota" => Cause::RateLimit,
                "503"
                | "529"
                | "overloaded"
                | "overloaded_error"
                | "server_overloaded"
                | "unavailable"
                | "service_unavailable" => Cause::Overload,
                _ => Cause::Other,
            };
            if found != Cause::Other {
                cause = found;
                break;
            }
        }
        cause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::tokens::{Member, Scanner};

    fn facts(data: &str) -> Facts {
        let mut scanner = Scanner::new(Member::Response);
        scanner.feed(data.as_bytes());
        scanner.into_facts()
    }

    fn is_complete(protocol: Protocol, events: &[&str]) -> bool {
        let mut progress = Progress::default();
        for data in events {
            progress.take(data.as_bytes(), &facts(data));
        }
        progress.is_complete(protocol)
    }

    #[test]
    fn a_stream_is_complete_when_its_form_says_so() {
        let (open, one, two) = (
            r#"{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": null}]}"#,
            r#"{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}"#,
            r#"{"choices": [{"index": 1, "text": "b"}]}"#,
        );
        for (protocol, events, expected) in [
            (Protocol::Chunks, &[][..], false),
            (Protocol::Chunks, &[open], false),
            (Protocol::Chunks, &[open, "[DONE]"], true),
            (Protocol::Chunks, &[open, one], true),
            (Protocol::Chunks, &[open, two, one], false),
            (Protocol::Chunks, &[open, one, r#"{"choices": [], "usage": {}}"#], true),
            (Protocol::Chunks, &[r#"{"choices": []}"#], false),
            (Protocol::Responses, &[r#"{"type": "response.output_text.delta", "delta": "a"}"#], false),
            (Protocol::Responses, &[r#"{"type": "response.completed", "response": {}}"#], true),
            (Protocol::Responses, &[r#"{"type": "response.incomplete", "response": {}}"#], true),
            (Protocol::Whole, &[], true),
        ] {
            assert_eq!(is_complete(protocol, events), expected, "{protocol:?} {events:?}");
        }
    }

    #[test]
    fn errors_are_found_in_every_form() {
        for (name, data, message) in [
            ("", r#"{"error": {"message": "Overloaded"}}"#, Some("Overloaded")),
            ("", r#"{"error": "Overloaded"}"#, Some("Overloaded")),
            ("error", r#"{"message": "Overloaded"}"#, Some("Overloaded")),
            ("error", "Overloaded", Some("Overloaded")),
            (
                "error",
                r#"{"type": "error", "code": "server_error", "message": "Overloaded"}"#,
                Some("Overloaded"),
            ),
            ("", r#"{"type": "error", "message": "Overloaded"}"#, Some("Overloaded")),
            (
                "",
                r#"{"type": "response.failed", "response": {"error": {"message": "Overloaded"}}}"#,
                Some("Overloaded"),
            ),
            ("", r#"{"error": null, "choices": []}"#, None),
            ("message", r#"{"choices": []}"#, None),
        ] {
            let error = Protocol::Chunks.error(name, data.as_bytes(), &facts(data));
            assert_eq!(error.map(|error| error.message()).as_deref(), message, "{data}");
        }
    }

    #[test]
    fn errors_about_the_credential_are_hidden() {
        let error = |data: &str| Protocol::Chunks.error("", data.as_bytes(), &facts(data)).unwrap();
        let hidden = error(r#"{"error": {"message": "Incorrect API key sk-1", "code": "invalid_api_key"}}"#);
        assert!(!hidden.may_be_passed_on() && !hidden.problem().detail.contains("sk-1"));
        assert!(!hidden.event().to_string().contains("sk-1"));
        let limited = error(r#"{"error": {"message": "Slow down", "code": 429}}"#);
        assert_eq!(limited.event(), json!({"error": {"message": "Slow down", "code": 429}}));
        assert!(limited.may_be_passed_on() && limited.problem().code == Code::RateLimited);
        assert_eq!(error(r#"{"error": {"type": "overloaded_error"}}"#).problem().code, Code::Unavailable);
        assert_eq!(error(r#"{"error": {"type": "server_error"}}"#).problem().code, Code::UpstreamError);
    }
}
