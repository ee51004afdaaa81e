//! The mail about the review of keys.

use serde::{Deserialize, Serialize};

use crate::mail::message::Letter;
use crate::text::number;

/// What the review holds; to admins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewReminder {
    /// The organisation's slug.
    pub org: String,
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

    /// Where they are.
    pub fn path(&self) -> String {
        format!("/o/{}/review", self.org)
    }

    /// Where they are on paper.
    pub fn print_path(&self) -> String {
        format!("/o/{}/review/print", self.org)
    }
}

impl Finding {
    /// "1,204".
    pub fn number(&self) -> String {
        number(self.found)
    }
}
