//! A key as the API and the command line show it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::id::{KeyId, OrgId};
use crate::keys::secret::Fingerprint;
use crate::keys::settings::KeySettings;
use crate::keys::{Contact, Key, Revocation};
use crate::scope::Scopes;
use crate::time::Time;

/// An API key. Only the responses that create or rotate a key contain its secret.
#[derive(Serialize, ToSchema)]
pub struct ApiKey<'a> {
    /// The same for all secrets of the key.
    #[schema(value_type = String, pattern = "^key_[0-9a-z]{26}$")]
    id: KeyId,
    /// Always `api_key`.
    object: &'static str,
    /// The organisation that it belongs to.
    #[schema(value_type = String, pattern = "^org_[0-9a-z]{26}$")]
    organization: OrgId,
    /// Never changes.
    name: &'a str,
    /// What it is for.
    description: &'a str,
    /// Whether it works, and if not, why.
    status: &'static str,
    /// Whether it is disabled.
    disabled: bool,
    /// What it may do, as far as its owner's role allows.
    #[schema(value_type = Vec<String>)]
    scopes: &'a Scopes,
    /// Identifies the current secret without revealing it.
    fingerprint: &'a Fingerprint,
    /// The member who owns it.
    owner: &'a Contact,
    /// The member who receives its e-mail too.
    backup: Option<&'a Contact>,
    /// Who created it: `user_…`, `key_…` or `system:cli`.
    created_by: &'a str,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it expires; null is never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Time>,
    // The schema's copy of these members is made in `openapi`, which lists them one by one.
    #[serde(flatten)]
    #[schema(ignore)]
    settings: &'a KeySettings,
    /// The open rotation; null if there is none.
    rotation: Option<Rotation<'a>>,
    /// When and why it was revoked, and by whom.
    revoked: Option<&'a Revocation>,
}

/// An open rotation: both the old and the new secret work.
#[derive(Serialize, ToSchema)]
struct Rotation<'a> {
    /// When the key was rotated.
    #[schema(value_type = String, format = DateTime)]
    started_at: Time,
    /// Until when the old secret works, unless the key expires earlier.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Time,
    /// Identifies the old secret without revealing it.
    old: &'a Fingerprint,
}

/// The key object of the API, without a secret.
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
        settings: &key.settings,
        rotation: key.rotation(now).map(|old| Rotation {
            started_at: old.at,
            ends_at: old.ends_at,
            old: &old.fingerprint,
        }),
        revoked: key.revoked.as_ref(),
    };
    // A value of these types can always be serialised.
    serde_json::to_value(object).unwrap_or_default()
}

/// A page of a list of keys, newest first.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// The keys.
    #[schema(value_type = Vec<ApiKey<'static>>)]
    pub data: Vec<Value>,
    /// The cursor of the next page; null on the last page.
    pub next_cursor: Option<String>,
}
