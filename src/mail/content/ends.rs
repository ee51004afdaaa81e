//! E-mails about the expiry of keys.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::mail::content::keys::{Impact, KeyFacts, Why, about_one_key, callers};
use crate::mail::context::MailContext;
use crate::mail::message::MailContent;
use crate::text::count;
use crate::time::{DAY, HOUR, MINUTE, Time};

/// A notice step of a key has been reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpiring {
    pub key: KeyFacts,
    pub why: Why,
    pub ends_at: Time,
    /// The step, in seconds before the expiry.
    pub step: i64,
    pub impact: Impact,
    /// Whether no one has acknowledged the expiry although it is close.
    pub unseen: bool,
    /// Whether this is an early step, which people can turn off.
    pub early: bool,
}

/// A key has expired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpired {
    pub key: KeyFacts,
    pub why: Why,
    pub ended_at: Time,
    pub impact: Impact,
}

/// A key expired a day ago and clients still use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpiredStillUsed {
    pub key: KeyFacts,
    pub why: Why,
    pub ended_at: Time,
    /// The number of requests refused since.
    pub calls: i64,
    /// The number of addresses from which they came.
    pub addresses: i64,
    /// Some of these addresses.
    pub callers: Vec<String>,
}

/// Several keys of one recipient expire soon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// The keys, by expiry.
    pub keys: Vec<KeyExpiring>,
    /// How many more there are.
    pub more: i64,
}

/// "7 days", "12 hours", "30 seconds".
fn span(seconds: i64) -> String {
    match seconds {
        _ if seconds % DAY == 0 => count(seconds / DAY, "day", "days"),
        _ if seconds % HOUR == 0 => count(seconds / HOUR, "hour", "hours"),
        _ if seconds % MINUTE == 0 => count(seconds / MINUTE, "minute", "minutes"),
        _ => count(seconds, "second", "seconds"),
    }
}

impl KeyExpiring {
    /// "in 7 days", rounded down, or "tomorrow" in the recipient's zone.
    pub fn left(&self, context: &MailContext) -> String {
        match context.days_to(&self.ends_at) {
            1 if self.step == DAY => "tomorrow".to_owned(),
            0 if self.step == DAY => "today".to_owned(),
            _ => format!("in {}", span(self.step)),
        }
    }
}

impl KeyExpiredStillUsed {
    /// "yesterday".
    pub fn ended(&self, context: &MailContext) -> String {
        if context.days_to(&self.ended_at) == -1 {
            "yesterday".to_owned()
        } else {
            format!("on {}", context.day(&self.ended_at))
        }
    }

    /// "312 requests from 2 addresses".
    pub fn sentence(&self) -> String {
        let calls = count(self.calls, "request", "requests");
        format!("{calls} from {}", count(self.addresses, "address", "addresses"))
    }

    /// Some addresses, and how many more.
    pub fn caller_line(&self) -> String {
        callers(&self.callers, self.addresses)
    }
}

impl Digest {
    /// "3 API keys expire soon".
    pub fn title(&self) -> String {
        let listed = i64::try_from(self.keys.len()).unwrap_or(i64::MAX);
        count(listed.saturating_add(self.more), "API key expires soon", "API keys expire soon")
    }

    /// How many of the listed keys are in use.
    pub fn busy(&self) -> usize {
        self.keys.iter().filter(|line| line.impact.is_busy()).count()
    }

    /// Whether all keys, listed or not, are known to be in use.
    pub fn all_busy(&self) -> bool {
        self.more == 0 && self.busy() == self.keys.len()
    }
}

impl MailContent for KeyExpiring {
    fn key(&self) -> Option<KeyId> {
        Some(self.key.id)
    }

    fn is_early(&self) -> bool {
        self.early
    }
}

impl MailContent for Digest {
    fn is_early(&self) -> bool {
        self.more == 0 && self.keys.iter().all(|line| line.early)
    }
}

about_one_key!(KeyExpired, KeyExpiredStillUsed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_in_their_largest_unit() {
        let written: Vec<String> = [7 * DAY, DAY, 12 * HOUR, 90, 30 * MINUTE, 1].map(span).to_vec();
        assert_eq!(written, ["7 days", "1 day", "12 hours", "90 seconds", "30 minutes", "1 second"]);
    }
}
