//! The reminder to review keys.

use serde::{Deserialize, Serialize};

use crate::id::OrgSlug;
use crate::mail::message::MailContent;
use crate::text::number;

/// The current findings of the review, sent to admins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewReminder {
    pub org: OrgSlug,
    /// Most urgent first.
    pub findings: Vec<Finding>,
}

/// The findings of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Their number.
    pub found: i64,
    /// What was found, worded to fit any number.
    pub what: String,
}

impl MailContent for ReviewReminder {}

impl ReviewReminder {
    /// "3 findings to review".
    pub fn title(&self) -> String {
        match self.findings.iter().map(|finding| finding.found).sum() {
            1 => "1 finding to review".to_owned(),
            all => format!("{} findings to review", number(all)),
        }
    }
}

impl Finding {
    /// "1,204".
    pub fn number(&self) -> String {
        number(self.found)
    }
}
