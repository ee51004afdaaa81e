//! The page about what should not stay as it is, its acts, and what an auditor takes away.

pub mod act;
pub mod export;
pub mod page;
pub mod print;
pub mod row;

use crate::review::rules::FindingKind;

/// How a card is told.
pub struct Told {
    /// Its name on the page.
    pub title: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// The class of its figure: bad, warn or nothing.
    pub tone: &'static str,
    /// The rule, in full.
    pub rule: &'static str,
    /// What there is none of, in the line of checks without a finding.
    pub nothing: &'static str,
    /// What the instant of a finding is.
    pub since: &'static str,
}

/// How a card is told.
pub fn told(kind: FindingKind) -> Told {
    let (title, meaning, tone, rule, nothing, since) = match kind {
        FindingKind::CalledAfterEnd => (
            "Still called after its end",
            "Calls are refused",
            "bad",
            "Ended keys that were called in the last 7 days",
            "ended keys that are still called",
            "Last call",
        ),
        FindingKind::OwnerLeft => (
            "Owner has left",
            "Nobody gets its mails",
            "bad",
            "Keys whose owner is no active member",
            "keys without an owner",
            "Last used",
        ),
        FindingKind::EndsSoon => (
            "End in 7 days",
            "Rotate, or let them lapse",
            "warn",
            "Active keys that end in the next 7 days",
            "keys that end in 7 days",
            "Ends",
        ),
        FindingKind::ManyErrors => (
            "Over 5 % errors",
            "In the last 7 days",
            "warn",
            "At least 100 requests in 7 days, over 5 % of them client or server errors",
            "over 5 % errors",
            "Errors",
        ),
        FindingKind::NewAddress => (
            "New address",
            "First seen this week",
            "warn",
            "Keys called in the last 7 days from an address that is new to them",
            "called from a new address",
            "First seen",
        ),
        FindingKind::ScopeUnused => (
            "Unused scopes",
            "Rights nobody needs",
            "",
            "Scopes not used for 60 days by keys that are in use",
            "unused scopes",
            "Scope last used",
        ),
        FindingKind::NeverUsed => (
            "Never used",
            "Made over 7 days ago",
            "",
            "Active keys made over 7 days ago and never used",
            "never used",
            "Made",
        ),
        FindingKind::Idle90 => (
            "Unused for 90 days",
            "Probably forgotten",
            "",
            "Active keys last used over 90 days ago",
            "unused for 90 days",
            "Last used",
        ),
        FindingKind::Idle30 => (
            "Unused for 30 days",
            "Perhaps forgotten",
            "",
            "Active keys last used 30 to 90 days ago",
            "unused for 30 days",
            "Last used",
        ),
        FindingKind::NoExpiry => {
            ("Never end", "Nobody will notice them", "", "Keys without an end", "keys without an end", "Made")
        }
    };
    Told { title, meaning, tone, rule, nothing, since }
}
