//! One e-mail in place of many to the same recipient.

use serde::{Deserialize, Serialize};

use crate::mail::context::MailContext;
use crate::mail::message::{MailContent, Message};
use crate::path::{self, Href};
use crate::text::number;
use crate::time::Time;

/// Several e-mails about keys, combined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Most important first.
    pub listed: Vec<Summarized>,
    /// How many more there are.
    pub more: i64,
    /// The event of all of them, listed or not, if it is the same.
    pub event: Option<String>,
}

/// An e-mail that is part of a summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summarized {
    /// When it was queued.
    pub at: Time,
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
    /// Its own subject.
    pub fn headline(&self, context: &MailContext) -> askama::Result<String> {
        // "Tomorrow" counts from when it was queued.
        let context = MailContext { written_at: self.at, ..context.clone() };
        Ok(self.message.headline(&context)?.trim().to_owned())
    }

    /// The key's page, unless the recipient may no longer see the key.
    pub fn page(&self) -> Option<Href> {
        let is_hidden = matches!(&self.message, Message::KeyWidened(content) if !content.is_readers());
        self.message.key().filter(|_| !is_hidden).map(|key| path::key_link(&key))
    }
}

impl MailContent for Summary {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_counts_unlisted_e_mails() {
        let summary =
            |event: Option<&str>| Summary { listed: Vec::new(), more: 1530, event: event.map(Into::into) };
        assert_eq!(summary(Some("key_expired")).title(), "1,530 API keys have expired");
        assert_eq!(summary(None).title(), "1,530 notices about API keys");
    }
}
