//! Creates, changes, disables and revokes keys. Each change is one transaction with its audit entry
//! and its feed row.

use std::sync::Arc;

use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::{Acting, Actor};
use crate::catalogue::current::CurrentCatalogue;
use crate::crypto::Keyring;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{KeyId, SecretId};
use crate::keys::checks::{check_end, check_models, grantable};
use crate::keys::input::{Edit, NewKey};
use crate::keys::manager::{KeyAction, KeyManager, appointed, member};
use crate::keys::secret::PlainSecret;
use crate::keys::settings::KeySettings;
use crate::keys::{Disabled, Key, Revocation, emails, expiry_store, feed, gains, store};
use crate::notices::schedule::Steps;
use crate::orgs::policy;
use crate::scope::Scope;
use crate::time::Time;
use crate::usage;

/// The error for someone who may not enable a key that an admin disabled.
pub const ADMINS_ONLY: &str = "An admin disabled this key, so only an admin can enable it.";

/// The parts of the configuration that creating a key needs.
#[derive(Clone)]
pub struct KeyDefaults {
    pub keyring: Keyring,
    /// The prefix of new secrets.
    pub prefix: String,
    /// The notice steps; the first one decides when a key's status becomes expiring.
    pub notices: Steps,
    /// Requests per minute of a new key, unless the organisation's policy has its own default.
    pub default_rpm: u32,
    /// The models that can be named.
    pub catalogue: Arc<CurrentCatalogue>,
}

/// Creates a key. The returned secret is not stored and cannot be shown again.
///
/// Errors: `NameTaken`, `ScopeNotGrantable`, `Invalid` for an owner or backup who is not a member,
/// and for values that the organisation's policy does not allow.
pub fn create(
    tx: &mut Tx<'_>,
    acting: &Acting,
    defaults: &KeyDefaults,
    new: &NewKey,
) -> Result<(Key, PlainSecret)> {
    let manager = KeyManager::of(acting)?;
    let now = acting.now.whole_second();
    let policy = policy::store::lock_shared(tx, acting.org)?;
    let (owner, role) = manager.choose_owner(tx, acting, new.owner.as_deref())?;
    grantable(&policy, new.scopes, manager.role, role)?;
    if new.scopes.has(Scope::Admin) {
        acting.require_fresh()?;
    }
    let expires_at = new.expires_at.map(Time::whole_second);
    let mut settings = KeySettings::new(&policy, defaults.default_rpm);
    new.settings.apply(&mut settings);
    let mut errors = settings.check_policy(None, &policy, manager.role, defaults.default_rpm);
    errors.extend(check_models(&defaults.catalogue, &policy, &settings, None, role));
    errors.extend(check_end(&policy, new.expiry_field, now, expires_at, manager.role).err());
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    let backup = match &new.backup {
        Some(who) => Some(appointed(tx, acting, "backup", who)?.0),
        None => None,
    };
    let secret = PlainSecret::generate(&defaults.prefix)?;
    let key = Key {
        id: KeyId::new(now),
        org: acting.org,
        name: new.name.as_str().to_owned(),
        description: new.description.clone(),
        scopes: new.scopes,
        owner,
        backup,
        answerers: Vec::new(),
        created_by: acting.actor.to_string(),
        created_at: now,
        expires_at,
        expiring_at: expires_at.and_then(|end| defaults.notices.expiring_at(now, end)),
        disabled: None,
        revoked: None,
        settings,
        secret: SecretId::new(now),
        fingerprint: secret.fingerprint(),
        secret_made_at: now,
        previous: None,
        end_changes: 0,
        last_used_at: None,
    };
    store::insert(tx, &key, &secret, &defaults.keyring)?;
    let event = Event::KeyCreated {
        name: key.name.clone(),
        scopes: key.scopes,
        owner: key.owner.id,
        expires_at: key.expires_at,
        sha256_prefix: key.fingerprint.sha256_prefix.clone(),
    };
    emails::created(tx, acting, &key)?;
    finish(tx, acting, key.id, &event)?;
    Ok((key, secret))
}

/// Changes a key that has not ended. Nothing is recorded if no value differs.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `ScopeNotGrantable`, `Invalid`.
pub fn edit(tx: &mut Tx<'_>, acting: &Acting, defaults: &KeyDefaults, id: KeyId, edit: &Edit) -> Result<Key> {
    let manager = KeyManager::of(acting)?;
    let before = lock_for(tx, acting, KeyAction::Edit, id)?;
    let mut key = before.clone();
    let policy = policy::store::lock_shared(tx, acting.org)?;
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
        // Only new scopes are checked. The policy decides at each request which of the others apply.
        grantable(&policy, scopes.without(before.scopes), manager.role, owner.role)?;
        usage::sums::note_granted(tx, key.org, key.id, scopes.without(before.scopes), acting.now)?;
        key.scopes = scopes;
    }
    let mut errors = Vec::new();
    if let Some(expires_at) = edit.expires_at {
        key.set_end(expires_at.map(Time::whole_second), &defaults.notices);
        let later = match (before.expires_at, key.expires_at) {
            (Some(before), Some(after)) => after > before,
            (before, after) => before.is_some() && after.is_none(),
        };
        if later {
            errors.extend(
                check_end(&policy, "expires_at", key.secret_made_at, key.expires_at, manager.role).err(),
            );
        }
    }
    if let Some(description) = &edit.description {
        key.description.clone_from(description);
    }
    edit.settings.apply(&mut key.settings);
    let former = Some(&before.settings);
    errors.extend(key.settings.check_policy(former, &policy, manager.role, defaults.default_rpm));
    if key.settings.models != before.settings.models {
        let owner = member(tx, acting, "owner", &key.owner.id.to_string())?;
        errors.extend(check_models(&defaults.catalogue, &policy, &key.settings, former, owner.role));
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    if let Some(disabled) = edit.disabled {
        key.disabled = disable(acting, &manager, before.disabled.as_ref(), disabled)?;
    }
    let changes = changes(&before, &key);
    let event = match changes.as_slice() {
        [] if before.disabled == key.disabled => return Ok(key),
        // An admin disables a key that its owner had disabled: from now on only an admin can enable it.
        [] => Event::KeyDisabled,
        [only] if only.field == "disabled" && key.disabled.is_some() => Event::KeyDisabled,
        [only] if only.field == "disabled" => Event::KeyEnabled,
        _ => Event::KeyUpdated { changes },
    };
    let widenings = gains::between(&before, &key);
    // Enabling an `admin` key needs a fresh sign-in even if the same edit removes `admin`.
    let is_admin = key.scopes.has(Scope::Admin)
        || (before.scopes.has(Scope::Admin) && before.disabled.is_some() && key.disabled.is_none());
    if is_admin && !widenings.is_empty() {
        acting.require_fresh()?;
    }
    store::update(tx, &key)?;
    emails::widened(tx, acting, &before, &key, &widenings)?;
    if before.expires_at != key.expires_at {
        expiry_store::note_end_set(tx, key.org, key.id, acting.now)?;
    }
    finish(tx, acting, key.id, &event)?;
    Ok(key)
}

/// The new value of [`Key::disabled`] after a request to disable or enable the key.
fn disable(
    acting: &Acting,
    manager: &KeyManager,
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

/// Disables or enables a key.
///
/// Errors: `NotFound`, `Forbidden`, `Denied`, `NotFresh`, `KeyEnded`.
pub fn set_disabled(
    tx: &mut Tx<'_>,
    acting: &Acting,
    defaults: &KeyDefaults,
    id: KeyId,
    disabled: bool,
) -> Result<Key> {
    edit(tx, acting, defaults, id, &Edit { disabled: Some(disabled), ..Edit::default() })
}

/// Revokes a key. A key that is revoked already stays as it is. A key may always revoke itself,
/// regardless of its scopes and its owner's role, but not with a superseded secret, which may have leaked.
///
/// Errors: `NotFound`, `Forbidden`, `Denied`.
pub fn revoke(tx: &mut Tx<'_>, acting: &Acting, id: KeyId, reason: Option<String>) -> Result<Key> {
    let key = store::lock(tx, acting.org, id)?;
    if acting.actor != Actor::Key(id) {
        KeyManager::of(acting)?.check(tx, KeyAction::Revoke, &key)?;
    }
    acting.require_current_secret_of(id)?;
    end(tx, acting, key, reason)
}

/// Revokes a locked key without checking rights.
pub(super) fn end(tx: &mut Tx<'_>, acting: &Acting, mut key: Key, reason: Option<String>) -> Result<Key> {
    let id = key.id;
    if key.revoked.is_some() {
        return Ok(key);
    }
    let revocation =
        Revocation { at: acting.now.whole_second(), by: acting.actor.to_string(), reason: reason.clone() };
    store::revoke(tx, acting.org, id, &revocation)?;
    key.revoked = Some(revocation);
    emails::revoked(tx, acting, &key, reason.as_deref())?;
    finish(tx, acting, key.id, &Event::KeyRevoked { reason })?;
    Ok(key)
}

/// Recomputes when the status of each key becomes expiring, after the notice steps were changed.
pub fn mark_expiring(tx: &mut Tx<'_>, notices: &Steps, now: Time) -> Result<()> {
    if crate::installation::notices(tx)? == notices.to_string() {
        return Ok(());
    }
    for (id, created, ends) in expiry_store::living_with_end(tx, now)? {
        expiry_store::set_expiring_at(tx, id, notices.expiring_at(created, ends))?;
    }
    crate::installation::set_notices(tx, &notices.to_string())
}

/// Appends the audit entry and publishes the change. The heads of the log and of the feed stay locked
/// from here until the commit, so call this last.
pub(super) fn finish(tx: &mut Tx<'_>, acting: &Acting, key: KeyId, event: &Event) -> Result<()> {
    log::append(tx, acting, &key.to_string(), event)?;
    feed::publish(tx, acting.org, key, acting.now)
}

/// Locks a key that the principal may change and that has not ended.
///
/// Errors: `NotFound`, `Forbidden`, `Denied`, `KeyEnded`.
pub(super) fn lock_for(tx: &mut Tx<'_>, acting: &Acting, action: KeyAction, id: KeyId) -> Result<Key> {
    let key = store::lock(tx, acting.org, id)?;
    KeyManager::of(acting)?.check(tx, action, &key)?;
    if action == KeyAction::Edit {
        acting.require_current_secret_of(id)?;
    }
    if key.status(acting.now).is_ended() { Err(Error::KeyEnded) } else { Ok(key) }
}

/// Each setting that differs.
pub(super) fn changes(before: &Key, after: &Key) -> Vec<Change> {
    let backup = |key: &Key| key.backup.as_ref().map(|backup| backup.id);
    let changed = [
        Change::between("description", json!(before.description), json!(after.description)),
        Change::between("scopes", json!(before.scopes), json!(after.scopes)),
        Change::between("expires_at", json!(before.expires_at), json!(after.expires_at)),
        Change::between("owner", json!(before.owner.id), json!(after.owner.id)),
        Change::between("backup", json!(backup(before)), json!(backup(after))),
        Change::between("disabled", json!(before.disabled.is_some()), json!(after.disabled.is_some())),
    ];
    changed.into_iter().flatten().chain(after.settings.changes(&before.settings)).collect()
}
