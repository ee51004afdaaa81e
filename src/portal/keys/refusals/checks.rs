//! The checks that a request with a key passes: the result for a refused request, and whether the same
//! request would pass now.

use crate::keys::{Key, Status};
use crate::portal::kit::format;
use crate::role::Role;
use crate::scope::Scope;
use crate::time::Time;
use crate::usage::refusals::store::RefusedRequest;

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
pub(super) fn of(
    kept: &RefusedRequest,
    key: &Key,
    role: Option<Role>,
    limit_allows: bool,
    now: Time,
) -> Vec<Check> {
    let status = key.status(now);
    let scope = kept.scope.as_deref().and_then(Scope::parse);
    let networks = &key.settings.allowed_ips;
    let needed = kept.scope.as_deref().unwrap_or("no scope");
    // A request before the last rotation used a secret that has been replaced.
    let replaced = kept.at < key.secret_made_at && key.previous.as_ref().is_none_or(|old| !old.works_at(now));
    let steps = [
        ("The key exists", true, Some(true), String::new()),
        (
            "The secret is the current one",
            kept.code != "key_superseded",
            Some(kept.code != "key_superseded" && !replaced),
            "The secret was replaced. Give the client the new one.".to_owned(),
        ),
        (
            "The key is not disabled or revoked",
            !matches!(kept.code.as_str(), "key_revoked" | "key_disabled"),
            Some(!matches!(status, Status::Disabled | Status::Revoked)),
            match status {
                Status::Revoked => "A revoked key can’t come back. Create a replacement.",
                Status::Disabled => "Enable it again, or find out who disabled it and why.",
                _ => "Nothing. The key works again.",
            }
            .to_owned(),
        ),
        (
            "The key has not expired",
            kept.code != "key_expired",
            Some(key.expires_at.is_none_or(|end| end > now)),
            "Create a replacement. Keys that expire soon are listed under Expiring.".to_owned(),
        ),
        (
            "The address is allowed",
            kept.code != "ip_not_allowed",
            Some(networks.allow(kept.address.parse().ok())),
            format!(
                "The key can be used from {}. Send requests from there, or change the allowed addresses.",
                networks.texts().join(", ")
            ),
        ),
        (
            "The limit is not exceeded",
            !matches!(kept.code.as_str(), "rate_limited" | "quota_exceeded"),
            Some(limit_allows),
            format!(
                "The key is limited to {} requests a minute. Send fewer requests, wait as long as Retry-After says, or raise the limit.",
                format::number(key.settings.requests_per_minute.get().into())
            ),
        ),
        (
            "The key has the scope",
            kept.code != "insufficient_scope" || kept.by_role,
            scope.map(|scope| key.scopes.has(scope)),
            format!("The request needs {needed}. Add it to the key, or use a key that has it."),
        ),
        (
            "The owner’s role allows the scope",
            kept.code != "insufficient_scope" || !kept.by_role,
            scope.map(|scope| role.is_some_and(|role| role.grantable().has(scope))),
            match role {
                Some(role) => format!(
                    "The owner’s role is now {}, which does not allow {needed}. Change the owner of the key.",
                    role.name()
                ),
                None => "The owner is not an active member. Change the owner of the key.".to_owned(),
            },
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
        checks.push(Check { name: "The rest of the request", then: Then::Refused, now: None, remedy });
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
            Some(true) => "Passes",
            Some(false) => "Would be refused",
            None => "Not checked",
        }
    }
}
