//! Mails about the end of keys.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::mail::letters::keys::{Impact, KeyFacts, Why, about_one_key, callers};
use crate::mail::message::Letter;
use crate::mail::sheet::Sheet;
use crate::text::count;
use crate::time::{DAY, HOUR, MINUTE, Time};

/// A step before the end of a key has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpiring {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// When it ends.
    pub ends_at: Time,
    /// The step, in seconds.
    pub step: i64,
    /// What will stop.
    pub impact: Impact,
    /// Whether nobody has said that they have seen it, so close before the end.
    pub unseen: bool,
    /// Whether this is one of the early steps, which nobody needs to get.
    pub early: bool,
}

/// A key has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpired {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// When it ended.
    pub ended_at: Time,
    /// What has stopped.
    pub impact: Impact,
}

/// A key ended a day ago and programs still call with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyExpiredStillUsed {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// When it ended.
    pub ended_at: Time,
    /// The refused calls since.
    pub calls: i64,
    /// From how many addresses.
    pub addresses: i64,
    /// Some of these.
    pub callers: Vec<String>,
}

/// Several keys of one reader end soon.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// The keys, by their end.
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
    /// "in 7 days", which is rounded down; "tomorrow" where it is for this reader.
    pub fn left(&self, sheet: &Sheet) -> String {
        match sheet.days_to(&self.ends_at) {
            1 if self.step == DAY => "tomorrow".to_owned(),
            0 if self.step == DAY => "today".to_owned(),
            _ => format!("in {}", span(self.step)),
        }
    }
}

impl KeyExpiredStillUsed {
    /// "yesterday".
    pub fn ended(&self, sheet: &Sheet) -> String {
        if sheet.days_to(&self.ended_at) == -1 {
            "yesterday".to_owned()
        } else {
            format!("on {}", sheet.day(&self.ended_at))
        }
    }

    /// "312 calls from 2 addresses".
    pub fn sentence(&self) -> String {
        let calls = count(self.calls, "call", "calls");
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

    /// How many of those listed are in use.
    pub fn busy(&self) -> usize {
        self.keys.iter().filter(|line| line.impact.is_busy()).count()
    }
}

impl Letter for KeyExpiring {
    fn key(&self) -> Option<KeyId> {
        Some(self.key.id)
    }

    fn is_early(&self) -> bool {
        self.early
    }
}

impl Letter for Digest {
    fn is_early(&self) -> bool {
        self.more == 0 && self.keys.iter().all(|line| line.early)
    }
}

about_one_key!(KeyExpired, KeyExpiredStillUsed);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let told: Vec<String> = [7 * DAY, DAY, 12 * HOUR, 90, 30 * MINUTE, 1].map(span).to_vec();
        assert_eq!(told, ["7 days", "1 day", "12 hours", "90 seconds", "30 minutes", "1 second"]);
    }
}
