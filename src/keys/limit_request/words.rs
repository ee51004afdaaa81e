//! What is asked and answered, checked as far as it can be without the database.

use crate::error::{FieldError, Result};
use crate::keys::draft::{self, MAX_REASON};
use crate::orgs::policy;

/// What is asked for, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub struct Ask {
    pub(super) limit: u32,
    pub(super) reason: String,
}

impl Ask {
    /// Checks both fields; complaints name `limit` and `reason`.
    pub fn parse(limit: &str, reason: &str) -> Result<Ask, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let reason = parse_words("reason", reason, "Say what the key needs it for.");
        match (limit, reason) {
            (Ok(limit), Ok(reason)) => Ok(Ask { limit, reason }),
            (limit, reason) => Err([limit.err(), reason.err()].into_iter().flatten().collect()),
        }
    }
}

/// An answer, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The key gets this limit.
    Approve {
        /// Requests a minute.
        limit: u32,
        /// What is said with it, if anything.
        words: Option<String>,
    },
    /// The limit stays.
    Refuse {
        /// Why.
        words: String,
    },
}

impl Answer {
    /// Checks an approval; complaints name `limit` and `words`.
    pub fn approval(limit: &str, words: &str) -> Result<Answer, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let words = draft::check_text("words", words, MAX_REASON);
        match (limit, words) {
            (Ok(limit), Ok(words)) => {
                Ok(Answer::Approve { limit, words: Some(words).filter(|words| !words.is_empty()) })
            }
            (limit, words) => Err([limit.err(), words.err()].into_iter().flatten().collect()),
        }
    }

    /// Checks a refusal, which needs words.
    pub fn refusal(words: &str) -> Result<Answer, Vec<FieldError>> {
        let words = parse_words("words", words, "Say why, so that they know what to do.");
        words.map(|words| Answer::Refuse { words }).map_err(|error| vec![error])
    }
}

fn parse_limit(text: &str) -> Result<u32, FieldError> {
    let number = text.trim().replace(',', "").parse().ok();
    number
        .filter(|limit| (1..=policy::MAX_RPM).contains(limit))
        .ok_or_else(|| FieldError::new("limit", "Use a number from 1 to 1,000,000."))
}

fn parse_words(field: &'static str, text: &str, missing: &str) -> Result<String, FieldError> {
    match draft::check_text(field, text, MAX_REASON)? {
        words if words.is_empty() => Err(FieldError::new(field, missing)),
        words => Ok(words),
    }
}
