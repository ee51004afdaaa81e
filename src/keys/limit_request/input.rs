//! Requests and decisions as people send them, and their checks.

use crate::error::{FieldError, Result};
use crate::keys::input::{self, MAX_REASON};
use crate::orgs::policy;

/// A request, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(super) limit: u32,
    pub(super) reason: String,
}

impl Ask {
    /// Checks both fields. Errors name `limit` and `reason`.
    pub fn parse(limit: &str, reason: &str) -> Result<Ask, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let reason = parse_words("reason", reason, "Say what the key needs it for.");
        match (limit, reason) {
            (Ok(limit), Ok(reason)) => Ok(Ask { limit, reason }),
            (limit, reason) => Err([limit.err(), reason.err()].into_iter().flatten().collect()),
        }
    }
}

/// A decision, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub enum Answer {
    Approve {
        /// The new limit, in requests per minute.
        limit: u32,
        /// The message to the person who made the request.
        words: Option<String>,
    },
    Decline {
        /// The message to the person who made the request.
        words: String,
    },
}

impl Answer {
    /// Checks an approval. Errors name `limit` and `words`.
    pub fn approval(limit: &str, words: &str) -> Result<Answer, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let words = input::check_text("words", words, MAX_REASON);
        match (limit, words) {
            (Ok(limit), Ok(words)) => {
                Ok(Answer::Approve { limit, words: Some(words).filter(|words| !words.is_empty()) })
            }
            (limit, words) => Err([limit.err(), words.err()].into_iter().flatten().collect()),
        }
    }

    /// Checks a decline, which needs a message.
    pub fn decline(words: &str) -> Result<Answer, Vec<FieldError>> {
        let words = parse_words("words", words, "Say why, so that they know what to do.");
        words.map(|words| Answer::Decline { words }).map_err(|error| vec![error])
    }
}

fn parse_limit(text: &str) -> Result<u32, FieldError> {
    let number = text.trim().replace(',', "").parse().ok();
    number
        .filter(|limit| (1..=policy::MAX_RPM).contains(limit))
        .ok_or_else(|| FieldError::new("limit", "Use a number from 1 to 1,000,000."))
}

fn parse_words(field: &'static str, text: &str, missing: &str) -> Result<String, FieldError> {
    match input::check_text(field, text, MAX_REASON)? {
        words if words.is_empty() => Err(FieldError::new(field, missing)),
        words => Ok(words),
    }
}
