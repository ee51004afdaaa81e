//! Shared by the benchmarks.

use keydesk::id::{KeyId, OrgId, SecretId, UserId};
use keydesk::keys::lookup::PresentedKey;
use keydesk::keys::settings::KeySettings;
use keydesk::orgs::policy::Policy;
use keydesk::role::Role;
use keydesk::scope::{Scope, Scopes};
use keydesk::time::Time;

/// A typical key: no allowed networks, a name of typical length.
pub(crate) fn key(number: usize) -> PresentedKey {
    let now = Time::now();
    PresentedKey {
        org: OrgId::new(now),
        org_slug: "acme-ai".into(),
        key: KeyId::new(now),
        secret: SecretId::new(now),
        name: format!("production-key-{number:07}").into(),
        scopes: Scopes::from_iter([Scope::InferenceRead, Scope::InferenceWrite]),
        expires_at: Some(now),
        superseded_until: None,
        disabled: false,
        revoked: false,
        settings: KeySettings::new(&Policy::default(), 600),
        owner: UserId::new(now),
        owner_role: Some(Role::Member),
        rights: Policy::default().rights(Some(Role::Member)),
    }
}
