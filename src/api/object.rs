//! A key as the API and the command line show it.

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::id::{KeyId, OrgId};
use crate::keys::secret::Fingerprint;
use crate::keys::{Contact, Key, Revocation};
use crate::scope::Scopes;
use crate::time::Time;

/// An API key. It never holds the secret, but in the one answer that makes it.
#[derive(Serialize, ToSchema)]
pub struct ApiKey<'a> {
    /// Stays the same for the key's whole life.
    #[schema(value_type = String, pattern = "^key_[0-9a-z]{26}$")]
    id: KeyId,
    /// Always `api_key`.
    object: &'static str,
    /// The organisation it belongs to.
    #[schema(value_type = String, pattern = "^org_[0-9a-z]{26}$")]
    organization: OrgId,
    /// Never changes.
    name: &'a str,
    /// What it is for.
    description: &'a str,
    /// Where it is in its life.
    status: &'static str,
    /// Whether it is set aside.
    disabled: bool,
    /// What it may do, as far as its owner's role may.
    #[schema(value_type = Vec<String>)]
    scopes: &'a Scopes,
    /// How to recognise it.
    fingerprint: &'a Fingerprint,
    /// The member who answers for it.
    owner: &'a Contact,
    /// The member who gets its mails too.
    backup: Option<&'a Contact>,
    /// Who made it: `user_…`, `key_…` or `system:cli`.
    created_by: &'a str,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it ends; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Time>,
    /// Its limit.
    requests_per_minute: u32,
    /// Networks it may be used from; none is any.
    #[schema(value_type = Vec<String>)]
    allowed_ips: &'a [IpNet],
    /// Whether it may replace its own secret.
    self_rotate: bool,
    /// The open rotation; null while there is none.
    rotation: Option<Rotation<'a>>,
    /// How it was revoked.
    revoked: Option<&'a Revocation>,
}

/// An open rotation: the old secret still works beside the new one.
#[derive(Serialize, ToSchema)]
struct Rotation<'a> {
    /// When the key was rotated.
    #[schema(value_type = String, format = DateTime)]
    started_at: Time,
    /// Until when the old secret works, unless the key ends before.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Time,
    /// How to recognise the old secret.
    old: &'a Fingerprint,
}

/// The key object of the contract. It never holds a secret.
pub fn key(key: &Key, now: Time) -> Value {
    let object = ApiKey {
        id: key.id,
        object: "api_key",
        organization: key.org,
        name: &key.name,
        description: &key.description,
        status: key.status(now).name(),
        disabled: key.disabled.is_some(),
        scopes: &key.scopes,
        fingerprint: &key.fingerprint,
        owner: &key.owner,
        backup: key.backup.as_ref(),
        created_by: &key.created_by,
        created_at: key.created_at,
        expires_at: key.expires_at,
        last_used_at: key.last_used_at,
        requests_per_minute: key.requests_per_minute,
        allowed_ips: &key.allowed_ips,
        self_rotate: key.self_rotate,
        rotation: key.rotation(now).map(|old| Rotation {
            started_at: old.at,
            ends_at: old.ends_at,
            old: &old.fingerprint,
        }),
        revoked: key.revoked.as_ref(),
    };
    // Members and texts alone, which always make JSON.
    serde_json::to_value(object).unwrap_or_default()
}

/// A part of a list of keys, newest first.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// The keys.
    #[schema(value_type = Vec<ApiKey<'static>>)]
    pub data: Vec<Value>,
    /// Where the next part begins; null when this is the last.
    pub next_cursor: Option<String>,
}
