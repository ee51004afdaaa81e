//! The rules: decides from the facts about a key alone what is found about it.

use crate::id::KeyId;
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};

/// Days for which a finding can be snoozed.
pub const SNOOZE_DAYS: i64 = 90;
/// Days for which a new key may stay unused before that is a finding.
pub const NEW_DAYS: i64 = 7;
/// Days without use after which a scope is a finding.
pub const SCOPE_DAYS: i64 = 60;
/// Days in "this week".
pub const WEEK: i64 = 7;
/// Requests from which a share of errors is meaningful.
const LEAST_REQUESTS: i64 = 100;
/// The largest share of errors without a finding, in percent.
const MOST_ERRORS: i64 = 5;

/// A kind of finding, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// An expired or revoked key is still called.
    CalledAfterEnd,
    /// The owner is no longer an active member.
    OwnerLeft,
    /// The key expires within a week.
    EndsSoon,
    /// Over 5 % of a week's requests were errors.
    ManyErrors,
    /// The key was called from a new address.
    NewAddress,
    /// The key is in use, but one of its scopes has not been used for 60 days.
    ScopeUnused,
    /// The key was never used.
    NeverUsed,
    /// The key was not used for 90 days.
    Idle90,
    /// The key was not used for 30 days, but within 90.
    Idle30,
    /// The key never expires.
    NoExpiry,
}

/// The facts about a key from which findings follow.
#[derive(Clone, Debug)]
pub struct Facts {
    pub key: KeyId,
    pub created_at: Time,
    pub expires_at: Option<Time>,
    pub revoked_at: Option<Time>,
    pub disabled: bool,
    pub last_used_at: Option<Time>,
    pub scopes: Scopes,
    /// Whether the owner is an active member.
    pub owner_is_active: bool,
    /// Per scope: when it was granted, if after the key was created, and when it was last used.
    pub scope_uses: Vec<(Scope, Option<Time>, Option<Time>)>,
    /// Requests of the last week.
    pub requests: i64,
    /// Client and server errors among them.
    pub errors: i64,
    /// When its first and its latest address were first seen.
    pub addresses: Option<(Time, Time)>,
}

/// A finding about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    pub kind: FindingKind,
    /// The scope, for [`FindingKind::ScopeUnused`].
    pub scope: Option<Scope>,
    /// The instant that says most about it, such as the last use or the expiry.
    pub since: Time,
}

impl FindingKind {
    /// All kinds, most urgent first.
    pub const ALL: [FindingKind; 10] = [
        FindingKind::CalledAfterEnd,
        FindingKind::OwnerLeft,
        FindingKind::EndsSoon,
        FindingKind::ManyErrors,
        FindingKind::NewAddress,
        FindingKind::ScopeUnused,
        FindingKind::NeverUsed,
        FindingKind::Idle90,
        FindingKind::Idle30,
        FindingKind::NoExpiry,
    ];

    /// The name in URLs, exports and the database.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::CalledAfterEnd => "called_after_end",
            FindingKind::OwnerLeft => "owner_left",
            FindingKind::EndsSoon => "ends_soon",
            FindingKind::ManyErrors => "many_errors",
            FindingKind::NewAddress => "new_address",
            FindingKind::ScopeUnused => "scope_unused",
            FindingKind::NeverUsed => "never_used",
            FindingKind::Idle90 => "idle_90_days",
            FindingKind::Idle30 => "idle_30_days",
            FindingKind::NoExpiry => "no_expiry",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<FindingKind> {
        FindingKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Facts {
    /// Whether the key has neither expired nor been revoked.
    pub fn is_active(&self, now: Time) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| end > now)
    }
}

/// The findings about a key.
pub fn findings(facts: &Facts, now: Time) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind, since| found.push(Finding { kind, scope: None, since });
    let long_ago = |at: Time, days: i64| at <= now.plus(-days * DAY);
    let last_used = facts.last_used_at;
    let end = match (facts.revoked_at, facts.expires_at.filter(|end| *end <= now)) {
        (Some(revoked), Some(expired)) => Some(revoked.min(expired)),
        (revoked, expired) => revoked.or(expired),
    };
    if let Some(end) = end {
        if let Some(at) = last_used.filter(|at| *at > end && !long_ago(*at, WEEK)) {
            add(FindingKind::CalledAfterEnd, at);
        }
        return found;
    }
    if !facts.owner_is_active {
        add(FindingKind::OwnerLeft, last_used.unwrap_or(facts.created_at));
    }
    if facts.expires_at.is_none() {
        add(FindingKind::NoExpiry, facts.created_at);
    }
    // No one expects a disabled key to be used.
    if facts.disabled {
        return found;
    }
    if let Some(ends) = facts.expires_at.filter(|ends| *ends <= now.plus(WEEK * DAY)) {
        add(FindingKind::EndsSoon, ends);
    }
    match last_used {
        None if long_ago(facts.created_at, NEW_DAYS) => add(FindingKind::NeverUsed, facts.created_at),
        None => {}
        Some(at) if long_ago(at, 90) => add(FindingKind::Idle90, at),
        Some(at) if long_ago(at, 30) => add(FindingKind::Idle30, at),
        Some(at) => {
            if facts.requests >= LEAST_REQUESTS && facts.errors * 100 > facts.requests * MOST_ERRORS {
                add(FindingKind::ManyErrors, at);
            }
            let new = facts.addresses.filter(|(first, latest)| {
                long_ago(*first, WEEK) && !long_ago(*latest, WEEK) && long_ago(facts.created_at, NEW_DAYS)
            });
            if let Some((_, latest)) = new {
                add(FindingKind::NewAddress, latest);
            }
            found.extend(unused_scopes(facts, now));
        }
    }
    found
}

/// The unused scopes of a key in use. A key with one scope keeps it.
fn unused_scopes(facts: &Facts, now: Time) -> Vec<Finding> {
    let held: Vec<Scope> = facts.scopes.iter().collect();
    if held.len() < 2 {
        return Vec::new();
    }
    let limit = now.plus(-SCOPE_DAYS * DAY);
    let unused = held.into_iter().filter_map(|scope| {
        let uses = facts.scope_uses.iter().find(|(used, _, _)| *used == scope);
        let granted = uses.and_then(|(_, granted, _)| *granted).unwrap_or(facts.created_at);
        let since = uses.and_then(|(_, _, last)| *last).map_or(granted, |last| last.max(granted));
        (since <= limit).then_some(Finding { kind: FindingKind::ScopeUnused, scope: Some(scope), since })
    });
    unused.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_014_400;

    fn ago(days: i64) -> Time {
        Time::from_seconds(NOW - days * DAY)
    }

    fn facts() -> Facts {
        let now = ago(0);
        Facts {
            key: KeyId::new(now),
            created_at: ago(200),
            expires_at: Some(ago(-100)),
            revoked_at: None,
            disabled: false,
            last_used_at: Some(ago(1)),
            scopes: [Scope::InferenceRead, Scope::InferenceWrite].into_iter().collect(),
            owner_is_active: true,
            scope_uses: vec![
                (Scope::InferenceRead, None, Some(ago(1))),
                (Scope::InferenceWrite, None, Some(ago(59))),
            ],
            requests: 1_000,
            errors: 50,
            addresses: Some((ago(100), ago(8))),
        }
    }

    fn kinds(facts: &Facts) -> Vec<&'static str> {
        findings(facts, ago(0)).iter().map(|finding| finding.kind.name()).collect()
    }

    #[test]
    fn unproblematic_key_has_no_finding() {
        assert_eq!(kinds(&facts()), [""; 0]);
    }

    #[test]
    fn each_rule_applies_from_its_threshold() {
        let change = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            kinds(&facts)
        };
        assert_eq!(change(|facts| facts.owner_is_active = false), ["owner_left"]);
        assert_eq!(change(|facts| facts.expires_at = None), ["no_expiry"]);
        assert_eq!(change(|facts| facts.expires_at = Some(ago(-7))), ["ends_soon"]);
        assert_eq!(change(|facts| facts.expires_at = Some(ago(-8))), [""; 0]);
        assert_eq!(change(|facts| facts.last_used_at = Some(ago(29))), [""; 0]);
        assert_eq!(change(|facts| facts.last_used_at = Some(ago(30))), ["idle_30_days"]);
        assert_eq!(change(|facts| facts.last_used_at = Some(ago(90))), ["idle_90_days"]);
        assert_eq!(change(|facts| facts.last_used_at = None), ["never_used"]);
        assert_eq!(change(|facts| facts.errors = 51), ["many_errors"]);
        assert_eq!(change(|facts| facts.addresses = Some((ago(100), ago(6)))), ["new_address"]);
        assert_eq!(change(|facts| facts.addresses = Some((ago(6), ago(6)))), [""; 0]);
        assert_eq!(change(|facts| facts.scope_uses[1].2 = Some(ago(60))), ["scope_unused"]);
        assert_eq!(change(|facts| facts.scope_uses[1].2 = None), ["scope_unused"]);
        assert_eq!(
            change(|facts| facts.scope_uses[1] = (Scope::InferenceWrite, Some(ago(59)), None)),
            [""; 0]
        );
        assert_eq!(change(|facts| facts.revoked_at = Some(ago(3))), ["called_after_end"]);
        assert_eq!(change(|facts| facts.revoked_at = Some(ago(1))), [""; 0]);
        assert_eq!(change(|facts| facts.expires_at = Some(ago(2))), ["called_after_end"]);
    }

    #[test]
    fn last_scope_and_disabled_keys_need_no_use() {
        let mut only = facts();
        only.scopes = [Scope::InferenceWrite].into_iter().collect();
        only.scope_uses.clear();
        assert_eq!(kinds(&only), [""; 0]);
        let disabled = Facts { disabled: true, last_used_at: None, expires_at: None, ..facts() };
        assert_eq!(kinds(&disabled), ["no_expiry"]);
        let new = Facts { created_at: ago(6), last_used_at: None, ..facts() };
        assert_eq!(kinds(&new), [""; 0]);
    }
}
