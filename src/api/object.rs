//! A key as the API and the command line show it.

use serde::Serialize;
use serde_json::{Value, json};

use crate::keys::Key;
use crate::time::Time;

/// The key object of the contract. It never holds a secret.
pub fn key(key: &Key, now: Time) -> Value {
    json!({
        "id": key.id,
        "object": "api_key",
        "organization": key.org,
        "name": key.name,
        "description": key.description,
        "status": key.status(now).name(),
        "disabled": key.disabled_at.is_some(),
        "scopes": key.scopes,
        "fingerprint": key.fingerprint,
        "owner": key.owner,
        "backup": key.backup,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "requests_per_minute": key.requests_per_minute,
        "allowed_ips": key.allowed_ips,
        "self_rotate": key.self_rotate,
        "rotation": null,
        "revoked": key.revoked,
    })
}

/// A part of a list.
#[derive(Serialize)]
pub struct Page {
    /// The objects.
    pub data: Vec<Value>,
    /// Where the next part begins; `None` when this is the last.
    pub next_cursor: Option<String>,
}
