//! Decides whether a key may do something, from an address, at a time. Pure: no clock, no database.

use std::net::IpAddr;

use crate::catalogue::list::{self, ModelList};
use crate::keys::lookup::PresentedKey;
use crate::refusal::Refusal;
use crate::scope::{Scope, Scopes};
use crate::time::Time;

/// The scopes of the key that its owner's role may hold now under the organisation's policy.
pub fn effective_scopes(key: &PresentedKey, now: Time) -> Scopes {
    key.rights.scopes(now).intersection(key.scopes)
}

/// The requests per minute that the key may make now.
pub fn effective_limit(key: &PresentedKey, now: Time) -> u32 {
    key.settings.requests_per_minute.get().min(key.rights.largest_rpm(now))
}

/// Whether the key may call a model: its own list and what the policy allows its owner both have to allow it.
pub fn may_call(key: &PresentedKey, model: &str, now: Time) -> bool {
    list::allows(key.settings.models.as_ref(), model) && list::allows(key.rights.models(now), model)
}

/// The models that the key may call; `None` is all.
pub fn effective_models(key: &PresentedKey, now: Time) -> Option<ModelList> {
    list::in_both(key.settings.models.as_ref(), key.rights.models(now))
}

/// Decides whether the key works at all, regardless of the address.
pub fn is_alive(key: &PresentedKey, now: Time) -> Result<(), Refusal> {
    if key.revoked {
        return Err(Refusal::Revoked);
    }
    // At the instant of its expiry, it has expired.
    if key.superseded_until.is_some_and(|end| end <= now) {
        return Err(Refusal::Superseded);
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    if key.disabled {
        return Err(Refusal::Disabled);
    }
    Ok(())
}

/// Decides whether the key works from this address. An unknown address is not allowed.
pub fn is_usable(key: &PresentedKey, address: Option<IpAddr>, now: Time) -> Result<(), Refusal> {
    is_alive(key, now)?;
    if key.settings.allowed_ips.allow(address) { Ok(()) } else { Err(Refusal::IpNotAllowed) }
}

/// The first needed scope that the key lacks. A key without any effective scope, because its owner was removed or disabled
/// or may hold none of them, lacks its first scope whatever is needed.
pub fn missing_scope(key: &PresentedKey, needed: Scopes, now: Time) -> Option<Scope> {
    let held = effective_scopes(key, now);
    let missing = needed.without(held).iter().next();
    missing.or_else(|| key.scopes.iter().next().filter(|_| held.is_empty()))
}

/// Decides whether a usable key has all of these scopes.
pub fn has_scopes(key: &PresentedKey, needed: Scopes, now: Time) -> Result<(), Refusal> {
    missing_scope(key, needed, now).map_or(Ok(()), |scope| Err(Refusal::MissingScope(scope)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::id::{KeyId, OrgId, SecretId, UserId};
    use crate::keys::settings::{KeySettings, Networks};
    use crate::orgs::policy::Policy;
    use crate::role::Role;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

    pub(in crate::verify) fn key() -> PresentedKey {
        let now = Time::from_seconds(0);
        PresentedKey {
            org: OrgId::new(now),
            org_slug: "acme".into(),
            key: KeyId::new(now),
            secret: SecretId::new(now),
            name: "test".into(),
            scopes: Scopes::all(),
            expires_at: Some(Time::from_seconds(100)),
            superseded_until: None,
            disabled: false,
            revoked: false,
            settings: KeySettings::new(&Policy::default(), 60),
            owner: UserId::new(now),
            owner_role: Some(Role::Owner),
            rights: Policy::default().rights(Some(Role::Owner)),
        }
    }

    #[test]
    fn key_expires_at_its_second_and_not_before() {
        assert_eq!(is_usable(&key(), HERE, Time::from_seconds(99)), Ok(()));
        assert_eq!(is_usable(&key(), HERE, Time::from_seconds(100)), Err(Refusal::Expired));
    }

    #[test]
    fn a_superseded_secret_ends_with_its_overlap_or_its_key() {
        let old = |until| PresentedKey { superseded_until: Some(Time::from_seconds(until)), ..key() };
        let usable = |key: &PresentedKey, at| is_usable(key, HERE, Time::from_seconds(at));
        assert_eq!(usable(&old(50), 49), Ok(()));
        assert_eq!(usable(&old(50), 50), Err(Refusal::Superseded));
        assert_eq!(usable(&old(50), 100), Err(Refusal::Superseded));
        assert_eq!(usable(&old(200), 100), Err(Refusal::Expired));
        assert_eq!(usable(&PresentedKey { revoked: true, ..old(50) }, 60), Err(Refusal::Revoked));
        assert_eq!(old(50).ends_at(), Some(Time::from_seconds(50)));
        assert_eq!(old(200).ends_at(), Some(Time::from_seconds(100)));
        assert_eq!(PresentedKey { expires_at: None, ..key() }.ends_at(), None);
    }

    #[test]
    fn key_restricted_to_networks_works_only_there() {
        let mut bound = key();
        bound.settings.allowed_ips = Networks::check(vec!["10.0.0.0/8".to_owned()]).expect("valid");
        let inside = "::ffff:10.1.2.3".parse().ok();
        assert_eq!(is_usable(&bound, inside, Time::from_seconds(0)), Ok(()));
        assert_eq!(is_usable(&bound, HERE, Time::from_seconds(0)), Err(Refusal::IpNotAllowed));
        assert_eq!(is_usable(&bound, None, Time::from_seconds(0)), Err(Refusal::IpNotAllowed));
    }

    #[test]
    fn effective_rights_are_those_of_key_and_owner() {
        for (role, admin, write) in [
            (Some(Role::Owner), true, true),
            (Some(Role::Admin), true, true),
            (Some(Role::Member), false, true),
            (Some(Role::Auditor), false, false),
            (None, false, false),
        ] {
            let rights = Policy::default().rights(role);
            let key = PresentedKey { owner_role: role, rights, ..key() };
            let may = |scopes: &[Scope]| {
                has_scopes(&key, scopes.iter().copied().collect(), Time::from_seconds(0)).is_ok()
            };
            assert_eq!(may(&[Scope::Admin]), admin, "{role:?}");
            assert_eq!(may(&[Scope::InferenceWrite]), write, "{role:?}");
            assert_eq!(may(&[Scope::InferenceWrite, Scope::Admin]), admin && write, "{role:?}");
            // One that is left with no right at all may nothing, whatever is asked.
            assert_eq!(may(&[]), admin || write, "{role:?}");
        }
    }
}
