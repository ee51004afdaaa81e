//! The checks that a request with a key passes: the result for a refused request, and whether the same
//! request would pass now.

use crate::keys::{Key, Status};
use crate::portal::kit::words;
use crate::role::Role;
use crate::scope::Scope;
use crate::time::Time;
use crate::usage::refusals::store::Kept;

pub(super) struct Check {
    pub(super) name: &'static str,
    /// Its result for the refused request.
    then: Then,
    /// Whether the same request would pass now, if known.
    now: Option<bool>,
    /// The remedy, or an empty text.
    pub(super) remedy: String,
}

/// The result of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Passed,
    Refused,
    NotReached,
}

/// The checks, in the order of the page.
pub(super) fn of(kept: &Kept, key: &Key, role: Option<Role>, limit_allows: bool, now: Time) -> Vec<Check> {
    let status = key.status(now);
    let scope = kept.scope.as_deref().and_then(Scope::parse);
    let networks = &key.settings.allowed_ips;
    let needed = kept.scope.as_deref().unwrap_or("no scope");
    let role_name = role.map_or("no active member", Role::name);
    // A request before the last rotation used a secret that has been replaced.
    let replaced = kept.at < key.secret_made_at && key.previous.as_ref().is_none_or(|old| old.ends_at <= now);
    let steps = [
        ("The key is known", true, Some(true), String::new()),
        (
            "Its secret is the current one",
            kept.code != "key_superseded",
            Some(kept.code != "key_superseded" && !replaced),
            "Its secret was replaced. Give the program the new one.".to_owned(),
        ),
        (
            "It is not disabled or revoked",
            !matches!(kept.code.as_str(), "key_revoked" | "key_disabled"),
            Some(!matches!(status, Status::Disabled | Status::Revoked)),
            match status {
                Status::Revoked => "A revoked key can’t come back. Create a replacement.",
                Status::Disabled => "Enable it again, or find out who disabled it and why.",
                _ => "Nothing: it works again.",
            }
            .to_owned(),
        ),
        (
            "It has not expired",
            kept.code != "key_expired",
            Some(key.expires_at.is_none_or(|end| end > now)),
            "Create a replacement. Keys that end soon are listed under Expiring.".to_owned(),
        ),
        (
            "The address is allowed",
            kept.code != "ip_not_allowed",
            Some(networks.allow(kept.address.parse().ok())),
            format!(
                "It may be used from {}. Call from there, or change the allowed addresses.",
                networks.texts().join(", ")
            ),
        ),
        (
            "The limit is not used up",
            !matches!(kept.code.as_str(), "rate_limited" | "quota_exceeded"),
            Some(limit_allows),
            format!(
                "It may make {} requests a minute. Call less often, wait as Retry-After says, or raise the limit.",
                words::number(key.settings.requests_per_minute.get().into())
            ),
        ),
        (
            "It holds the scope",
            kept.code != "insufficient_scope" || kept.by_role,
            scope.map(|scope| key.scopes.has(scope)),
            format!("The call needs {needed}. Add it to the key, or use a key that has it."),
        ),
        (
            "Its owner’s role may hold it",
            kept.code != "insufficient_scope" || !kept.by_role,
            scope.map(|scope| role.is_some_and(|role| role.grantable().has(scope))),
            format!("The owner is {role_name} now, who can’t hold {needed}. Give the key another owner."),
        ),
    ];
    let mut refused = false;
    let mut checks: Vec<Check> = steps
        .into_iter()
        .map(|(name, passed, now, remedy)| {
            let then = match (refused, passed) {
                (true, _) => Then::NotReached,
                (false, true) => Then::Passed,
                (false, false) => Then::Refused,
            };
            refused |= !passed;
            Check { name, then, now, remedy: if passed { String::new() } else { remedy } }
        })
        .collect();
    if !refused {
        // It was refused after these checks.
        let remedy = super::remedy(&kept.code);
        checks.push(Check { name: "The rest of the call", then: Then::Refused, now: None, remedy });
    }
    checks
}

impl Check {
    /// Icon, CSS class and label of the result. Without an icon, the style sheet draws a dot.
    pub(super) fn then_words(&self) -> (&'static str, &'static str, &'static str) {
        match self.then {
            Then::Passed => ("", "active", "Passed"),
            Then::Refused => ("ban", "expired", "Refused"),
            Then::NotReached => ("", "disabled", "Not reached"),
        }
    }

    /// The label of the result now.
    pub(super) fn now_words(&self) -> &'static str {
        match self.now {
            Some(true) => "passes",
            Some(false) => "would be refused",
            None => "not asked",
        }
    }
}
