//! The review: its findings, decisions about them, a print view and a CSV export.

pub mod act;
pub mod export;
pub mod page;
pub mod print;
pub mod row;

use crate::review::rules::FindingKind;

/// The text of a kind of finding.
pub struct KindText {
    /// Its name on the page.
    pub title: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// The class of its figure: bad, warn or nothing.
    pub tone: &'static str,
    /// The rule, in full.
    pub rule: &'static str,
    /// Its name in the line of kinds without findings.
    pub nothing: &'static str,
    /// The header of the column with the time of a finding.
    pub since: &'static str,
}

/// The text of a kind of finding.
pub fn kind_text(kind: FindingKind) -> KindText {
    let (title, meaning, tone, rule, nothing, since) = match kind {
        FindingKind::CalledAfterEnd => (
            "Still used after ending",
            "Requests are refused",
            "bad",
            "Expired and revoked keys that were used in the last 7 days",
            "ended keys still in use",
            "Last request",
        ),
        FindingKind::OwnerLeft => (
            "Owner has left",
            "No one gets its e-mails",
            "bad",
            "Keys whose owner is not an active member",
            "without an active owner",
            "Last used",
        ),
        FindingKind::EndsSoon => (
            "Expire within 7 days",
            "Rotate them or let them expire",
            "warn",
            "Active keys that expire within 7 days",
            "expiring within 7 days",
            "Expires",
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
            "Keys used in the last 7 days from an address that never used them before",
            "used from a new address",
            "First seen",
        ),
        FindingKind::ScopeUnused => (
            "Unused scopes",
            "Rights that no client needs",
            "",
            "Scopes not used for 60 days by keys that are in use",
            "unused scopes",
            "Scope last used",
        ),
        FindingKind::NeverUsed => (
            "Never used",
            "Created over 7 days ago",
            "",
            "Active keys created over 7 days ago and never used",
            "never used",
            "Created",
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
        FindingKind::NoExpiry => (
            "Never expire",
            "No one is reminded to replace them",
            "",
            "Active keys without an expiry date",
            "without an expiry date",
            "Created",
        ),
    };
    KindText { title, meaning, tone, rule, nothing, since }
}
