//! The mail about the review of keys.

use serde::{Deserialize, Serialize};

use crate::id::OrgSlug;
use crate::mail::message::Letter;
use crate::text::number;

/// What the review holds; to admins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewReminder {
    pub org: OrgSlug,
    /// What was found, most urgent first.
    pub findings: Vec<Finding>,
}

/// Findings of one kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// How many.
    pub found: i64,
    /// Of what, in words that go with any number.
    pub what: String,
}

impl Letter for ReviewReminder {}

impl ReviewReminder {
    /// "3 findings wait for a review".
    pub fn title(&self) -> String {
        match self.findings.iter().map(|finding| finding.found).sum() {
            1 => "1 finding waits for a review".to_owned(),
            all => format!("{} findings wait for a review", number(all)),
        }
    }
}

impl Finding {
    /// "1,204".
    pub fn number(&self) -> String {
        number(self.found)
    }
}
