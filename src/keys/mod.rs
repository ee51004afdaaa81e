//! The life of an API key.
//!
//! - **active**: it works. **expiring** is active within the first notice step before its end.
//! - **expired**: its end has come. Live is half-open: from its making until just before its end.
//! - **disabled**: set aside by someone; can be undone and holds the key's name meanwhile.
//! - **revoked**: ended by someone, for good.
//!
//! Expired and revoked keys have ended: they stay visible and never change again. A key
//! keeps its id when its secret is replaced; each secret is a row of its own.

pub mod draft;
pub mod end_store;
pub mod feed;
pub mod lifecycle;
pub mod limit_request;
pub mod list;
pub mod mails;
pub mod manager;
pub mod name;
pub mod names;
pub mod policy_effect;
pub mod presented;
pub mod roots;
pub mod rotation;
pub mod secret;
pub mod secret_store;
pub mod store;
pub mod succession;
mod widening;

use ipnet::IpNet;

use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::secret::Fingerprint;
use crate::notices::schedule::Steps;
use crate::scope::Scopes;
use crate::time::Time;

/// An API key: everything but its secret.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its identifier, the same for all its secrets.
    pub id: KeyId,
    /// The organisation it belongs to.
    pub org: OrgId,
    /// Its name, which never changes.
    pub name: String,
    /// What it is for, in its owner's words.
    pub description: String,
    /// What it may do, as far as its owner's role may.
    pub scopes: Scopes,
    /// The member who answers for it.
    pub owner: Contact,
    /// The member who gets its mails too.
    pub backup: Option<Contact>,
    /// The people who answer for its owner or backup where that is a service account; known of a key
    /// that was looked up by itself.
    pub answerers: Vec<UserId>,
    /// Who made it: `user_…`, `key_…` or `system:cli`.
    pub created_by: String,
    /// When it was made.
    pub created_at: Time,
    /// When it ends; `None` is never.
    pub expires_at: Option<Time>,
    /// From when it counts as expiring.
    pub expiring_at: Option<Time>,
    /// How it was disabled, if it is.
    pub disabled: Option<Disabled>,
    /// How it was revoked, if it was.
    pub revoked: Option<Revocation>,
    /// Requests a minute that it may make.
    pub requests_per_minute: u32,
    /// Networks it may be used from; none is any.
    pub allowed_ips: Vec<IpNet>,
    /// Whether it may replace its own secret.
    pub self_rotate: bool,
    /// Its secret of now.
    pub secret: SecretId,
    /// How to recognise that secret.
    pub fingerprint: Fingerprint,
    /// When that secret was made.
    pub secret_made_at: Time,
    /// The secret before it, if there was one.
    pub previous: Option<Superseded>,
    /// How often its end was moved.
    pub end_changes: i64,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Time>,
}

/// A secret that another has taken the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Which.
    pub secret: SecretId,
    /// How to recognise it.
    pub fingerprint: Fingerprint,
    /// Since when.
    pub at: Time,
    /// By whom, as in [`Key::created_by`].
    pub by: String,
    /// Until when it works beside its successor.
    pub ends_at: Time,
    /// The end that it had before, which it never outlives.
    pub own_end_at: Option<Time>,
}

/// A member, as far as a key shows one.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Contact {
    /// Who.
    #[schema(value_type = String, pattern = "^user_[0-9a-z]{26}$")]
    pub id: UserId,
    /// Where mail reaches them.
    pub email: String,
    /// Their name, which the API leaves out.
    #[serde(skip)]
    pub name: String,
}

/// How a key was disabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// When.
    pub at: Time,
    /// By whom, as in [`Key::created_by`].
    pub by: String,
    /// Whether they managed all keys of the organisation. Only somebody who does enables the key then.
    pub by_admin: bool,
}

/// How a key was revoked.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Revocation {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Time,
    /// By whom, as in [`Key::created_by`].
    pub by: String,
    /// Why, where a reason was given.
    pub reason: Option<String>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It works.
    Active,
    /// It works, and ends soon.
    Expiring,
    /// It is set aside.
    Disabled,
    /// Its end has come.
    Expired,
    /// It was ended.
    Revoked,
}

impl Status {
    /// All of them, in the order in which they are shown.
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

    /// Whether the key has ended and can't change any more.
    pub fn is_ended(self) -> bool {
        matches!(self, Status::Expired | Status::Revoked)
    }
}

impl Key {
    /// The open rotation at `now`: the secret that still works beside its successor.
    pub fn rotation(&self, now: Time) -> Option<&Superseded> {
        self.previous.as_ref().filter(|old| old.ends_at > now && !self.status(now).is_ended())
    }

    /// Moves the end, and with it from when the key counts as expiring.
    fn set_end(&mut self, end: Option<Time>, notices: &Steps) {
        if end != self.expires_at {
            self.end_changes += 1;
        }
        self.expires_at = end;
        self.expiring_at = end.and_then(|end| notices.expiring_at(self.secret_made_at, end));
    }

    /// Where the key is in its life at `now`.
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
