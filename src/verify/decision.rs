//! May this key do this, from there, now? Pure: no clock, no database.

use std::net::IpAddr;

use crate::keys::presented::Presented;
use crate::orgs::role::Role;
use crate::scope::{Scope, Scopes};
use crate::time::Time;

/// Why a key that exists may not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was ended by someone.
    Revoked,
    /// Its end has come.
    Expired,
    /// It is set aside.
    Disabled,
    /// It is bound to other addresses.
    IpNotAllowed,
    /// It does not hold the scope, or its owner's role does not.
    MissingScope(Scope),
}

/// What the key may do now: its scopes as far as its owner's role may hold them.
pub fn effective_scopes(key: &Presented) -> Scopes {
    key.owner_role.map_or(Scopes::NONE, Role::grantable).intersection(key.scopes)
}

/// Decides whether the key works at all, and from this address.
pub fn is_usable(key: &Presented, address: IpAddr, now: Time) -> Result<(), Refusal> {
    if key.revoked {
        return Err(Refusal::Revoked);
    }
    // Half-open: at its end it has ended.
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Refusal::Expired);
    }
    if key.disabled {
        return Err(Refusal::Disabled);
    }
    let address = address.to_canonical();
    if !key.allowed_ips.is_empty() && !key.allowed_ips.iter().any(|network| network.contains(&address)) {
        return Err(Refusal::IpNotAllowed);
    }
    Ok(())
}

/// Decides whether a usable key may do what needs this scope. `None` needs no scope.
pub fn has_scope(key: &Presented, scope: Option<Scope>) -> Result<(), Refusal> {
    match scope {
        Some(scope) if !effective_scopes(key).has(scope) => Err(Refusal::MissingScope(scope)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{KeyId, OrgId, SecretId, UserId};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn key() -> Presented {
        let now = Time::from_seconds(0);
        Presented {
            org: OrgId::new(now),
            key: KeyId::new(now),
            secret: SecretId::new(now),
            name: "test".into(),
            scopes: Scopes::all(),
            expires_at: Some(Time::from_seconds(100)),
            disabled: false,
            revoked: false,
            requests_per_minute: 60,
            allowed_ips: Vec::new(),
            owner: UserId::new(now),
            owner_role: Some(Role::Owner),
        }
    }

    #[test]
    fn a_key_ends_at_its_second_and_not_before() {
        assert_eq!(is_usable(&key(), HERE, Time::from_seconds(99)), Ok(()));
        assert_eq!(is_usable(&key(), HERE, Time::from_seconds(100)), Err(Refusal::Expired));
    }

    #[test]
    fn a_key_bound_to_networks_works_only_there() {
        let bound = Presented { allowed_ips: vec!["10.0.0.0/8".parse().expect("valid")], ..key() };
        let inside: IpAddr = "::ffff:10.1.2.3".parse().expect("valid");
        assert_eq!(is_usable(&bound, inside, Time::from_seconds(0)), Ok(()));
        assert_eq!(is_usable(&bound, HERE, Time::from_seconds(0)), Err(Refusal::IpNotAllowed));
    }

    #[test]
    fn rights_are_those_of_key_and_owner_together() {
        for (role, admin, write) in [
            (Some(Role::Owner), true, true),
            (Some(Role::Admin), true, true),
            (Some(Role::Member), false, true),
            (Some(Role::Auditor), false, false),
            (None, false, false),
        ] {
            let key = Presented { owner_role: role, ..key() };
            assert_eq!(has_scope(&key, Some(Scope::Admin)).is_ok(), admin, "{role:?}");
            assert_eq!(has_scope(&key, Some(Scope::InferenceWrite)).is_ok(), write, "{role:?}");
            assert!(has_scope(&key, None).is_ok());
        }
    }
}
