//! What the benchmarks share.

use keydesk::id::{KeyId, OrgId, SecretId, UserId};
use keydesk::keys::presented::Presented;
use keydesk::orgs::policy::Policy;
use keydesk::role::Role;
use keydesk::scope::{Scope, Scopes};
use keydesk::time::Time;

/// A key as there are many: without a bound address, with a name of usual length.
pub(crate) fn key(number: usize) -> Presented {
    let now = Time::now();
    Presented {
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
        requests_per_minute: 600,
        allowed_ips: Box::default(),
        owner: UserId::new(now),
        owner_role: Some(Role::Member),
        rights: Policy::default().rights(Some(Role::Member)),
    }
}
