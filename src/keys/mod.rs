//! API keys and their status.
//!
//! - **active**: the key works. **expiring**: active, and within the first notice step before its expiry.
//! - **expired**: its expiry has passed. A key stops working exactly at its expiry, not after it.
//! - **disabled**: it does not work until it is enabled again. It keeps its name meanwhile.
//! - **revoked**: it never works again.
//!
//! Expired and revoked keys have *ended*: they stay visible and never change again. A key
//! keeps its id when its secret is rotated; each secret has a row of its own.

pub mod allowed_models;
mod checks;
pub mod emails;
pub mod expiry_store;
pub mod feed;
mod gains;
pub mod input;
pub mod lifecycle;
pub mod limit_request;
pub mod list;
pub mod lookup;
pub mod manager;
pub mod name;
pub mod names;
pub mod offboarding;
pub mod policy_effect;
pub mod roots;
pub mod rotation;
pub mod secret;
pub mod secret_store;
pub mod settings;
pub mod store;

use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::secret::Fingerprint;
use crate::keys::settings::KeySettings;
use crate::notices::schedule::Steps;
use crate::scope::Scopes;
use crate::time::Time;

/// An API key: everything but its secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// The same for all its secrets.
    pub id: KeyId,
    pub org: OrgId,
    /// Never changes.
    pub name: String,
    pub description: String,
    /// What it may do, as far as its owner's role allows.
    pub scopes: Scopes,
    pub owner: Contact,
    pub backup: Option<Contact>,
    /// The people responsible for its owner or backup, where that is a service account. Only filled in
    /// by [`store::find`] and [`store::lock`].
    pub answerers: Vec<UserId>,
    /// `user_…`, `key_…` or `system:cli`.
    pub created_by: String,
    pub created_at: Time,
    /// `None` is never.
    pub expires_at: Option<Time>,
    /// When its status becomes expiring.
    pub expiring_at: Option<Time>,
    pub disabled: Option<Disabled>,
    pub revoked: Option<Revocation>,
    pub settings: KeySettings,
    /// The current secret.
    pub secret: SecretId,
    /// The fingerprint of the current secret.
    pub fingerprint: Fingerprint,
    /// When the current secret was created.
    pub secret_made_at: Time,
    /// The secret before the current one.
    pub previous: Option<Superseded>,
    /// How often its expiry was changed.
    pub end_changes: i64,
    /// To the minute.
    pub last_used_at: Option<Time>,
}

/// A secret that a rotation has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    pub secret: SecretId,
    pub fingerprint: Fingerprint,
    /// When it was replaced.
    pub at: Time,
    /// Who replaced it, as in [`Key::created_by`].
    pub by: String,
    /// The end of the overlap.
    pub ends_at: Time,
    /// Whether it was ended at once, so that its end needs no clock.
    pub ended: bool,
    /// The expiry that it had before the rotation; the overlap never goes beyond it.
    pub own_end_at: Option<Time>,
}

impl Superseded {
    /// Whether it still works at `now`, as far as its overlap is concerned.
    pub fn works_at(&self, now: Time) -> bool {
        !self.ended && self.ends_at > now
    }
}

/// The owner or backup of a key.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Contact {
    #[schema(value_type = String, pattern = "^user_[0-9a-z]{26}$")]
    pub id: UserId,
    pub email: String,
    /// Not part of the API.
    #[serde(skip)]
    pub name: String,
}

/// When a key was disabled, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    pub at: Time,
    /// As in [`Key::created_by`].
    pub by: String,
    /// Whether an owner or admin of the organisation disabled it. Then only an owner or admin may enable it.
    pub by_admin: bool,
}

/// When and why a key was revoked, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Revocation {
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// `user_…`, `key_…` or `system:cli`.
    pub by: String,
    pub reason: Option<String>,
}

/// Whether a key works, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    /// Active, and expires soon.
    Expiring,
    Disabled,
    Expired,
    Revoked,
}

impl Status {
    /// All statuses, in the order in which they are shown.
    pub const ALL: [Status; 5] =
        [Status::Active, Status::Expiring, Status::Disabled, Status::Expired, Status::Revoked];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Expiring => "expiring",
            Status::Disabled => "disabled",
            Status::Expired => "expired",
            Status::Revoked => "revoked",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether the key has ended, so that it can no longer change.
    pub fn is_ended(self) -> bool {
        matches!(self, Status::Expired | Status::Revoked)
    }
}

impl Key {
    /// The old secret of an open rotation, which still works at `now`.
    pub fn rotation(&self, now: Time) -> Option<&Superseded> {
        self.previous.as_ref().filter(|old| old.works_at(now) && !self.status(now).is_ended())
    }

    /// Sets the expiry, and with it when the status becomes expiring.
    fn set_end(&mut self, end: Option<Time>, notices: &Steps) {
        if end != self.expires_at {
            self.end_changes += 1;
        }
        self.expires_at = end;
        self.expiring_at = end.and_then(|end| notices.expiring_at(self.secret_made_at, end));
    }

    /// The status at `now`.
    pub fn status(&self, now: Time) -> Status {
        let reached = |at: Option<Time>| at.is_some_and(|at| at <= now);
        if self.revoked.is_some() {
            Status::Revoked
        } else if reached(self.expires_at) {
            Status::Expired
        } else if self.disabled.is_some() {
            Status::Disabled
        } else if reached(self.expiring_at) {
            Status::Expiring
        } else {
            Status::Active
        }
    }
}
