//! Making, changing and ending keys. Each act is one transaction with its audit entry and
//! its place in the feed.

use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::{Acting, Actor};
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::id::{KeyId, SecretId};
use crate::keys::draft::{Draft, Edit};
use crate::keys::manager::{Deed, Manager, appointed, member};
use crate::keys::secret::PlainSecret;
use crate::keys::{Disabled, Key, Revocation, end_store, feed, mails, store, widening};
use crate::notices::schedule::Steps;
use crate::orgs::policy::{self, Policy};
use crate::role::Role;
use crate::scope::{Scope, Scopes};
use crate::time::Time;
use crate::usage;

/// What those are told who may not enable a key.
pub const ADMINS_ONLY: &str = "An admin disabled this key, so only an admin can enable it.";

/// What new keys need of the configuration.
#[derive(Clone)]
pub struct Mint {
    /// The keys to derive digests with.
    pub keyring: Keyring,
    /// The prefix of new keys.
    pub prefix: String,
    /// The notice steps, which say from when a key counts as expiring.
    pub notices: Steps,
    /// Requests a minute where the organisation's policy names no other default.
    pub default_rpm: u32,
}

/// Makes a key and its secret, which nobody can have again.
///
/// Errors: `NameTaken`, `ScopeNotGrantable`, `Invalid` for an owner or backup who is no member,
/// and for what the organisation's policy does not allow.
pub fn create(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, draft: &Draft) -> Result<(Key, PlainSecret)> {
    let manager = Manager::of(acting)?;
    let now = acting.now.whole_second();
    let policy = policy::store::hold(tx, acting.org)?;
    let (owner, role) = manager.choose_owner(tx, acting, draft.owner.as_deref())?;
    grantable(&policy, draft.scopes, manager.role, role)?;
    if draft.scopes.has(Scope::Admin) {
        acting.require_fresh()?;
    }
    let expires_at = draft.expires_at.map(Time::whole_second);
    let rpm = draft.requests_per_minute.unwrap_or(policy.default_rpm(mint.default_rpm));
    let mut errors = Vec::new();
    errors.extend(check_end(&policy, draft.expiry_field, now, expires_at, manager.role).err());
    errors.extend(check_rpm(&policy, mint, rpm, manager.role).err());
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let backup = match &draft.backup {
        Some(who) => Some(appointed(tx, acting, "backup", who)?.0),
        None => None,
    };
    let secret = PlainSecret::generate(&mint.prefix)?;
    let key = Key {
        id: KeyId::new(now),
        org: acting.org,
        name: draft.name.as_str().to_owned(),
        description: draft.description.clone(),
        scopes: draft.scopes,
        owner,
        backup,
        answerers: Vec::new(),
        created_by: acting.actor.to_string(),
        created_at: now,
        expires_at,
        expiring_at: expires_at.and_then(|end| mint.notices.expiring_at(now, end)),
        disabled: None,
        revoked: None,
        requests_per_minute: rpm,
        allowed_ips: draft.allowed_ips.clone(),
        self_rotate: draft.self_rotate,
        secret: SecretId::new(now),
        fingerprint: secret.fingerprint(),
        secret_made_at: now,
        previous: None,
        end_changes: 0,
        last_used_at: None,
    };
    store::insert(tx, &key, &secret, &mint.keyring)?;
    let event = Event::KeyCreated {
        name: key.name.clone(),
        scopes: key.scopes,
        owner: key.owner.id,
        expires_at: key.expires_at,
        sha256_prefix: key.fingerprint.sha256_prefix.clone(),
    };
    mails::created(tx, acting, &key)?;
    finish(tx, acting, key.id, &event)?;
    Ok((key, secret))
}

/// Changes settings of a living key. What is already so makes no entry.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `ScopeNotGrantable`, `Invalid`.
pub fn edit(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, id: KeyId, edit: &Edit) -> Result<Key> {
    let manager = Manager::of(acting)?;
    let before = living(tx, acting, Deed::Edit, id)?;
    let mut key = before.clone();
    let policy = policy::store::hold(tx, acting.org)?;
    if let Some(owner) = &edit.owner {
        key.owner = manager.choose_owner(tx, acting, Some(owner))?.0;
    }
    if let Some(backup) = &edit.backup {
        key.backup = match backup {
            Some(who) => Some(appointed(tx, acting, "backup", who)?.0),
            None => None,
        };
    }
    if let Some(scopes) = edit.scopes {
        let owner = member(tx, acting, "owner", &key.owner.id.to_string())?;
        // What it holds already may stay; at each call the policy says what of it counts.
        grantable(&policy, scopes.without(before.scopes), manager.role, owner.role)?;
        usage::sums::note_granted(tx, key.org, key.id, scopes.without(before.scopes), acting.now)?;
        key.scopes = scopes;
    }
    if let Some(expires_at) = edit.expires_at {
        key.set_end(expires_at.map(Time::whole_second), &mint.notices);
        let later = match (before.expires_at, key.expires_at) {
            (Some(before), Some(after)) => after > before,
            (before, after) => before.is_some() && after.is_none(),
        };
        if later {
            check_end(&policy, "expires_at", key.secret_made_at, key.expires_at, manager.role)
                .map_err(|error| Error::Invalid(vec![error]))?;
        }
    }
    if let Some(description) = &edit.description {
        key.description.clone_from(description);
    }
    if let Some(rpm) = edit.requests_per_minute {
        if rpm > before.requests_per_minute {
            check_rpm(&policy, mint, rpm, manager.role).map_err(|error| Error::Invalid(vec![error]))?;
        }
        key.requests_per_minute = rpm;
    }
    if let Some(allowed_ips) = &edit.allowed_ips {
        key.allowed_ips.clone_from(allowed_ips);
    }
    if let Some(self_rotate) = edit.self_rotate {
        key.self_rotate = self_rotate;
    }
    if let Some(disabled) = edit.disabled {
        key.disabled = disable(acting, &manager, before.disabled.as_ref(), disabled)?;
    }
    let changes = changes(&before, &key);
    let event = match changes.as_slice() {
        [] if before.disabled == key.disabled => return Ok(key),
        // An admin disables what somebody else had disabled, so that it takes an admin to enable it.
        [] => Event::KeyDisabled,
        [only] if only.field == "disabled" && key.disabled.is_some() => Event::KeyDisabled,
        [only] if only.field == "disabled" => Event::KeyEnabled,
        _ => Event::KeyUpdated { changes },
    };
    let widenings = widening::between(&before, &key);
    // Enabling an `admin` key revives it, also where the same edit takes `admin` from it.
    let is_admin = key.scopes.has(Scope::Admin)
        || (before.scopes.has(Scope::Admin) && before.disabled.is_some() && key.disabled.is_none());
    if is_admin && !widenings.is_empty() {
        acting.require_fresh()?;
    }
    store::update(tx, &key)?;
    mails::widened(tx, acting, &before, &key, &widenings)?;
    if before.expires_at != key.expires_at {
        end_store::note_end_set(tx, key.org, key.id, acting.now)?;
    }
    finish(tx, acting, key.id, &event)?;
    Ok(key)
}

/// How a key is disabled after somebody asks for it to be disabled or enabled.
fn disable(
    acting: &Acting,
    manager: &Manager,
    before: Option<&Disabled>,
    disabled: bool,
) -> Result<Option<Disabled>> {
    let by_admin = manager.role.manages_all_keys();
    match before {
        Some(before) if !disabled && before.by_admin && !by_admin => Err(Error::Denied(ADMINS_ONLY)),
        Some(before) if disabled && (before.by_admin || !by_admin) => Ok(Some(before.clone())),
        _ if disabled => {
            Ok(Some(Disabled { at: acting.now.whole_second(), by: acting.actor.to_string(), by_admin }))
        }
        _ => Ok(None),
    }
}

/// Disables a key, or enables it. Errors: `NotFound`, `Forbidden`, `Denied`, `NotFresh`, `KeyEnded`.
pub fn set_disabled(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, id: KeyId, disabled: bool) -> Result<Key> {
    edit(tx, acting, mint, id, &Edit { disabled: Some(disabled), ..Edit::default() })
}

/// Ends a key for good. A key that is already revoked stays as it was. A key may always revoke
/// itself, whatever its scopes and its owner's role, but not with a secret that was replaced: that is the
/// one that may have leaked.
///
/// Errors: `NotFound`, `Forbidden`, `Denied`.
pub fn revoke(tx: &mut Tx<'_>, acting: &Acting, id: KeyId, reason: Option<String>) -> Result<Key> {
    let key = store::lock(tx, acting.org, id)?;
    if acting.actor != Actor::Key(id) {
        Manager::of(acting)?.check(tx, Deed::Revoke, &key)?;
    }
    acting.require_current_secret_of(id)?;
    end(tx, acting, key, reason)
}

/// [`revoke`] for a locked key whose end has been decided already.
pub(super) fn end(tx: &mut Tx<'_>, acting: &Acting, mut key: Key, reason: Option<String>) -> Result<Key> {
    let id = key.id;
    if key.revoked.is_some() {
        return Ok(key);
    }
    let revocation =
        Revocation { at: acting.now.whole_second(), by: acting.actor.to_string(), reason: reason.clone() };
    store::revoke(tx, acting.org, id, &revocation)?;
    key.revoked = Some(revocation);
    mails::revoked(tx, acting, &key, reason.as_deref())?;
    finish(tx, acting, key.id, &Event::KeyRevoked { reason })?;
    Ok(key)
}

/// Marks anew from when living keys count as expiring, after the notice steps were changed.
pub fn mark_expiring(tx: &mut Tx<'_>, notices: &Steps, now: Time) -> Result<()> {
    if crate::installation::notices(tx)? == notices.to_string() {
        return Ok(());
    }
    for (id, created, ends) in end_store::living_with_end(tx, now)? {
        end_store::set_expiring_at(tx, id, notices.expiring_at(created, ends))?;
    }
    crate::installation::set_notices(tx, &notices.to_string())
}

/// The log's head and the feed's head stay locked from here to the commit, so this comes last.
pub(super) fn finish(tx: &mut Tx<'_>, acting: &Acting, key: KeyId, event: &Event) -> Result<()> {
    log::append(tx, acting, &key.to_string(), event)?;
    feed::publish(tx, acting.org, key, acting.now)
}

pub(super) fn living(tx: &mut Tx<'_>, acting: &Acting, deed: Deed, id: KeyId) -> Result<Key> {
    let key = store::lock(tx, acting.org, id)?;
    Manager::of(acting)?.check(tx, deed, &key)?;
    if deed == Deed::Edit {
        acting.require_current_secret_of(id)?;
    }
    if key.status(acting.now).is_ended() { Err(Error::KeyEnded) } else { Ok(key) }
}

fn grantable(policy: &Policy, scopes: Scopes, manager: Role, owner: Role) -> Result<()> {
    let refused = scopes.without(policy.grantable(manager).intersection(policy.grantable(owner)));
    if refused.is_empty() { Ok(()) } else { Err(Error::ScopeNotGrantable(refused)) }
}

fn check_end(
    policy: &Policy,
    field: &'static str,
    made: Time,
    end: Option<Time>,
    role: Role,
) -> Result<(), FieldError> {
    policy.check_end(made, end, role).map_err(|message| FieldError::new(field, message))
}

fn check_rpm(policy: &Policy, mint: &Mint, rpm: u32, role: Role) -> Result<(), FieldError> {
    let most = policy.most_rpm(role, mint.default_rpm);
    if rpm <= most {
        return Ok(());
    }
    let ask = if most < policy.rules.largest_rpm { " More needs an admin’s approval." } else { "" };
    Err(FieldError::new("requests_per_minute", format!("Use at most {most} requests a minute.{ask}")))
}

/// What is different, setting by setting.
pub(super) fn changes(before: &Key, after: &Key) -> Vec<Change> {
    let backup = |key: &Key| key.backup.as_ref().map(|backup| backup.id);
    let all = [
        ("description", json!(before.description), json!(after.description)),
        ("scopes", json!(before.scopes), json!(after.scopes)),
        ("expires_at", json!(before.expires_at), json!(after.expires_at)),
        ("requests_per_minute", json!(before.requests_per_minute), json!(after.requests_per_minute)),
        ("allowed_ips", json!(before.allowed_ips), json!(after.allowed_ips)),
        ("owner", json!(before.owner.id), json!(after.owner.id)),
        ("backup", json!(backup(before)), json!(backup(after))),
        ("disabled", json!(before.disabled.is_some()), json!(after.disabled.is_some())),
        ("self_rotate", json!(before.self_rotate), json!(after.self_rotate)),
    ];
    let changed = all.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(field, before, after)| Change { field: field.into(), before, after }).collect()
}
