//! The rules: what is found about a key, from facts alone.

use crate::id::KeyId;
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};

/// For how long a key, or a scope of it, is given before not using it is a finding.
pub const NEW_DAYS: i64 = 7;
/// After how many days a scope that was not used is a finding.
pub const SCOPE_DAYS: i64 = 60;
/// How many days are "this week".
pub const WEEK: i64 = 7;
/// From how many requests a share of errors says something.
const LEAST_REQUESTS: i64 = 100;
/// From what share of errors on there is a finding, in percent.
const MOST_ERRORS: i64 = 5;

/// A kind of finding, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Card {
    /// An ended key is still called.
    CalledAfterEnd,
    /// The owner is no active member any more.
    OwnerLeft,
    /// The key ends within a week.
    EndsSoon,
    /// Over 5 % of a week's requests were errors.
    ManyErrors,
    /// The key was called from an address that it was not called from before.
    NewAddress,
    /// A scope was not used for long, though the key is in use.
    ScopeUnused,
    /// The key was never used.
    NeverUsed,
    /// The key was not used for 90 days.
    Idle90,
    /// The key was not used for 30 days, but within 90.
    Idle30,
    /// The key never ends.
    NoExpiry,
}

/// What is known about a key.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which.
    pub key: KeyId,
    /// When it was made.
    pub created_at: Time,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// When it was revoked.
    pub revoked_at: Option<Time>,
    /// Whether it is set aside.
    pub disabled: bool,
    /// When it was last called.
    pub last_used_at: Option<Time>,
    /// What it may do.
    pub scopes: Scopes,
    /// Whether its owner is an active member.
    pub owner_is_active: bool,
    /// For scopes: since when they are held if not from the first, and when they were last used.
    pub scope_uses: Vec<(Scope, Option<Time>, Option<Time>)>,
    /// Requests of the last week.
    pub requests: i64,
    /// Those that were client or server errors.
    pub errors: i64,
    /// When the first and the latest of its addresses were first seen.
    pub addresses: Option<(Time, Time)>,
}

/// Something found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// Of which kind.
    pub card: Card,
    /// Which scope, where it is about one.
    pub scope: Option<Scope>,
    /// The instant that says most about it: the last use, the end, the making.
    pub since: Time,
}

impl Card {
    /// All of them, most urgent first.
    pub const ALL: [Card; 10] = [
        Card::CalledAfterEnd,
        Card::OwnerLeft,
        Card::EndsSoon,
        Card::ManyErrors,
        Card::NewAddress,
        Card::ScopeUnused,
        Card::NeverUsed,
        Card::Idle90,
        Card::Idle30,
        Card::NoExpiry,
    ];

    /// The name in URLs, exports and the database.
    pub fn name(self) -> &'static str {
        match self {
            Card::CalledAfterEnd => "called_after_end",
            Card::OwnerLeft => "owner_left",
            Card::EndsSoon => "ends_soon",
            Card::ManyErrors => "many_errors",
            Card::NewAddress => "new_address",
            Card::ScopeUnused => "scope_unused",
            Card::NeverUsed => "never_used",
            Card::Idle90 => "idle_90_days",
            Card::Idle30 => "idle_30_days",
            Card::NoExpiry => "no_expiry",
        }
    }

    /// The card of that name.
    pub fn parse(name: &str) -> Option<Card> {
        Card::ALL.into_iter().find(|card| card.name() == name)
    }
}

/// What is found about a key.
pub fn findings(facts: &Facts, now: Time) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |card, since| found.push(Finding { card, scope: None, since });
    let long_ago = |at: Time, days: i64| at <= now.plus(-days * DAY);
    let last_used = facts.last_used_at;
    let end = match (facts.revoked_at, facts.expires_at.filter(|end| *end <= now)) {
        (Some(revoked), Some(expired)) => Some(revoked.min(expired)),
        (revoked, expired) => revoked.or(expired),
    };
    if let Some(end) = end {
        if let Some(at) = last_used.filter(|at| *at > end && !long_ago(*at, WEEK)) {
            add(Card::CalledAfterEnd, at);
        }
        return found;
    }
    if !facts.owner_is_active {
        add(Card::OwnerLeft, last_used.unwrap_or(facts.created_at));
    }
    if facts.expires_at.is_none() {
        add(Card::NoExpiry, facts.created_at);
    }
    // What is set aside is not expected to be used.
    if facts.disabled {
        return found;
    }
    if let Some(ends) = facts.expires_at.filter(|ends| *ends <= now.plus(WEEK * DAY)) {
        add(Card::EndsSoon, ends);
    }
    match last_used {
        None if long_ago(facts.created_at, NEW_DAYS) => add(Card::NeverUsed, facts.created_at),
        None => {}
        Some(at) if long_ago(at, 90) => add(Card::Idle90, at),
        Some(at) if long_ago(at, 30) => add(Card::Idle30, at),
        Some(at) => {
            if facts.requests >= LEAST_REQUESTS && facts.errors * 100 > facts.requests * MOST_ERRORS {
                add(Card::ManyErrors, at);
            }
            let new = facts.addresses.filter(|(first, latest)| {
                long_ago(*first, WEEK) && !long_ago(*latest, WEEK) && long_ago(facts.created_at, NEW_DAYS)
            });
            if let Some((_, latest)) = new {
                add(Card::NewAddress, latest);
            }
            found.extend(unused_scopes(facts, now));
        }
    }
    found
}

/// The scopes of a key in use that nobody needs. The last one stays: a key has at least one.
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
        (since <= limit).then_some(Finding { card: Card::ScopeUnused, scope: Some(scope), since })
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

    fn cards(facts: &Facts) -> Vec<&'static str> {
        findings(facts, ago(0)).iter().map(|finding| finding.card.name()).collect()
    }

    #[test]
    fn a_key_in_order_has_no_finding() {
        assert_eq!(cards(&facts()), [""; 0]);
    }

    #[test]
    fn each_rule_finds_what_it_is_for_and_no_earlier() {
        let change = |change: fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            cards(&facts)
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
    fn the_last_scope_stays_and_what_is_set_aside_need_not_be_used() {
        let mut only = facts();
        only.scopes = [Scope::InferenceWrite].into_iter().collect();
        only.scope_uses.clear();
        assert_eq!(cards(&only), [""; 0]);
        let aside = Facts { disabled: true, last_used_at: None, expires_at: None, ..facts() };
        assert_eq!(cards(&aside), ["no_expiry"]);
        let new = Facts { created_at: ago(6), last_used_at: None, ..facts() };
        assert_eq!(cards(&new), [""; 0]);
    }
}
