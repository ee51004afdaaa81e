//! What a change lets a key do that it could not do before. Owner and backup are told of all of it.

use ipnet::IpNet;

use crate::keys::Key;
use crate::mail::Widening;

/// How `after` is wider than `before`.
pub(super) fn between(before: &Key, after: &Key) -> Vec<Widening> {
    let mut found = Vec::new();
    let added = after.scopes.without(before.scopes);
    if !added.is_empty() {
        found.push(Widening::Scopes(added.names().into_iter().map(str::to_owned).collect()));
    }
    let is_later = match (before.expires_at, after.expires_at) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    };
    if is_later {
        found.push(Widening::Expiry(after.expires_at));
    }
    if reaches_further(&before.allowed_ips, &after.allowed_ips) {
        found.push(Widening::Addresses(after.allowed_ips.iter().map(IpNet::to_string).collect()));
    }
    if after.requests_per_minute > before.requests_per_minute {
        found.push(Widening::Limit(after.requests_per_minute));
    }
    if before.disabled.is_some() && after.disabled.is_none() {
        found.push(Widening::Enabled);
    }
    if after.owner.id != before.owner.id {
        found.push(Widening::Owner(after.owner.name.clone()));
    }
    let backup = after.backup.as_ref();
    if let Some(backup) = backup.filter(|backup| before.backup.as_ref().is_none_or(|old| old.id != backup.id))
    {
        found.push(Widening::Backup(backup.name.clone()));
    }
    if after.self_rotate && !before.self_rotate {
        found.push(Widening::SelfRotation);
    }
    found
}

/// Whether some address is allowed now that was not before. No network means any address.
fn reaches_further(before: &[IpNet], after: &[IpNet]) -> bool {
    let was_allowed = |network: &IpNet| before.iter().any(|allowed| allowed.contains(network));
    !before.is_empty() && (after.is_empty() || !after.iter().all(was_allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_within_an_allowed_one_is_no_widening() {
        let networks = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("valid")).collect()
        };
        for (before, after, further) in [
            (&[][..], &[][..], false),
            (&[], &["10.0.0.0/8"], false),
            (&["10.0.0.0/8"], &[], true),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], false),
            (&["10.1.0.0/16"], &["10.0.0.0/8"], true),
            (&["10.1.0.0/16"], &["10.1.0.0/16", "192.0.2.1/32"], true),
            (&["0.0.0.0/0"], &["::/0"], true),
        ] {
            assert_eq!(reaches_further(&networks(before), &networks(after)), further, "{before:?} {after:?}");
        }
    }
}
