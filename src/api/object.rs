//! A key as shown by the API and the command line.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::id::{KeyId, OrgId};
use crate::keys::secret::Fingerprint;
use crate::keys::settings::KeySettings;
use crate::keys::{Contact, Key, Revocation};
use crate::scope::Scopes;
use crate::time::Time;

/// An API key. Contains the secret only in the response that creates it.
#[derive(Serialize, ToSchema)]
pub struct ApiKey<'a> {
    /// Stays the same through rotations.
    #[schema(value_type = String, pattern = "^key_[0-9a-z]{26}$")]
    id: KeyId,
    /// Always `api_key`.
    object: &'static str,
    /// The id of the organisation.
    #[schema(value_type = String, pattern = "^org_[0-9a-z]{26}$")]
    organization: OrgId,
    /// Never changes.
    name: &'a str,
    /// The purpose of the key.
    description: &'a str,
    /// `active`, `expiring`, `expired`, `disabled` or `revoked`.
    status: &'static str,
    /// Whether the key is disabled.
    disabled: bool,
    /// The scopes, which are effective as far as the owner's role allows them.
    #[schema(value_type = Vec<String>)]
    scopes: &'a Scopes,
    /// Identifies the secret without revealing it.
    fingerprint: &'a Fingerprint,
    /// The member who receives the key's e-mails.
    owner: &'a Contact,
    /// Another member who receives the key's e-mails.
    backup: Option<&'a Contact>,
    /// `user_…`, `key_…` or `system:cli`.
    created_by: &'a str,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    /// When it expires; null if never.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Time>,
    /// When it was last used, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Time>,
    // The schema's copy of these members is made in `openapi`, which lists them one by one.
    #[serde(flatten)]
    #[schema(ignore)]
    settings: &'a KeySettings,
    /// The rotation in progress, if any.
    rotation: Option<Rotation<'a>>,
    /// The revocation, if the key was revoked.
    revoked: Option<&'a Revocation>,
}

/// A rotation in progress: the old secret still works beside the new one.
#[derive(Serialize, ToSchema)]
struct Rotation<'a> {
    /// When the key was rotated.
    #[schema(value_type = String, format = DateTime)]
    started_at: Time,
    /// When the old secret stops working, unless the key expires earlier.
    #[schema(value_type = String, format = DateTime)]
    ends_at: Time,
    /// Identifies the old secret.
    old: &'a Fingerprint,
}

/// The key object of the contract, without a secret.
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
    // Serialisation can't fail: the object contains only text, numbers and lists.
    serde_json::to_value(object).unwrap_or_default()
}

/// A page of a list of keys, newest first.
#[derive(Serialize, ToSchema)]
pub struct Page {
    /// The keys.
    #[schema(value_type = Vec<ApiKey<'static>>)]
    pub data: Vec<Value>,
    /// Where the next page begins; null on the last one.
    pub next_cursor: Option<String>,
}
