//! One e-mail in place of many to the same reader.

use serde::{Deserialize, Serialize};

use crate::mail::message::{Letter, Message};
use crate::mail::sheet::Sheet;
use crate::path::{self, Href};
use crate::text::number;
use crate::time::Time;

/// Several e-mails about keys, combined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Those that are listed, the most important first.
    pub listed: Vec<Summarized>,
    /// How many more there are.
    pub more: i64,
    /// The event of all of them, listed or not, if it is the same.
    pub event: Option<String>,
}

/// An e-mail that is part of a summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summarized {
    /// When it would have been sent.
    pub at: Time,
    /// What it would have said.
    pub message: Message,
}

impl Summary {
    /// "1,530 API keys have expired".
    pub fn title(&self) -> String {
        let listed = i64::try_from(self.listed.len()).unwrap_or(i64::MAX);
        let what = match self.event.as_deref() {
            Some("key_created") => "API keys were created",
            Some("key_expiring") => "API keys expire soon",
            Some("key_expired") => "API keys have expired",
            Some("key_expired_still_used") => "expired API keys are still used",
            Some("key_revoked") => "API keys were revoked",
            Some("key_rotated") => "API keys have new secrets",
            _ => "notices about API keys",
        };
        format!("{} {what}", number(listed.saturating_add(self.more)))
    }

    /// "1,480 more".
    pub fn more_line(&self) -> String {
        format!("{} more", number(self.more))
    }
}

impl Summarized {
    /// The subject that it would have had.
    pub fn headline(&self, sheet: &Sheet) -> askama::Result<String> {
        // "Tomorrow" counts from when it would have been sent.
        let sheet = Sheet { written_at: self.at, ..sheet.clone() };
        Ok(self.message.headline(&sheet)?.trim().to_owned())
    }

    /// The key's page, unless the reader may not see the key any more.
    pub fn page(&self) -> Option<Href> {
        let is_hidden = matches!(&self.message, Message::KeyWidened(letter) if !letter.is_readers());
        self.message.key().filter(|_| !is_hidden).map(|key| path::key_link(&key))
    }
}

impl Letter for Summary {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_counts_what_is_not_listed_too() {
        let summary =
            |event: Option<&str>| Summary { listed: Vec::new(), more: 1530, event: event.map(Into::into) };
        assert_eq!(summary(Some("key_expired")).title(), "1,530 API keys have expired");
        assert_eq!(summary(None).title(), "1,530 notices about API keys");
    }
}
