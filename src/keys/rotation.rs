//! Rotates keys: a key gets a new secret and keeps its id, name, scopes and history. Both secrets work
//! until the overlap ends.
//!
//! A key has one open rotation at a time. The old secret never works beyond its own expiry. A rotation
//! restarts the key's lifetime, as far as the organisation's policy allows: a 90-day key gets 90 more days.
//! A key that rotates itself keeps its expiry.

use crate::audit::event::Event;
use crate::authority::{Acting, Actor};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{KeyId, SecretId};
use crate::keys::lifecycle::{KeyDefaults, finish, lock_for};
use crate::keys::manager::{KeyAction, KeyManager};
use crate::keys::secret::PlainSecret;
use crate::keys::{Key, Status, Superseded, emails, secret_store, store};
use crate::mail::Widening;
use crate::orgs::policy::{self, MAX_DAYS, Policy};
use crate::refusal::Refusal;
use crate::role::Role;
use crate::scope::Scope;
use crate::time::{DAY, HOUR, Time, parse_span};

/// The longest overlap, in seconds.
pub const MAX_OVERLAP: i64 = 30 * DAY;
/// The overlap if none is given, in seconds.
pub const DEFAULT_OVERLAP: i64 = DAY;
/// The shortest overlap for a key that rotates itself, in seconds: its client needs time to store the new
/// secret.
const MIN_OWN_OVERLAP: i64 = HOUR;

/// Reads an overlap such as `24h`, from `0s` to `30d`; 24 hours if `text` is `None`.
pub fn parse_overlap(text: Option<&str>) -> Result<i64> {
    let Some(text) = text else { return Ok(DEFAULT_OVERLAP) };
    parse_span(text)
        .filter(|overlap| (0..=MAX_OVERLAP).contains(overlap))
        .ok_or_else(|| Error::invalid("overlap", "Write a span from 0s to 30d, such as 24h."))
}

/// Rotates a key. The returned secret is not stored and cannot be shown again; the old one works for
/// `overlap` more seconds. A disabled key may be rotated, so that a leaked key can be enabled again safely.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `RotationOpen`, `Invalid`.
pub fn rotate(
    tx: &mut Tx<'_>,
    acting: &Acting,
    defaults: &KeyDefaults,
    id: KeyId,
    overlap: i64,
) -> Result<(Key, PlainSecret)> {
    let now = acting.now.whole_second();
    let by_itself =
        acting.actor == Actor::Key(id) && !acting.key().is_some_and(|key| key.scopes.has(Scope::Admin));
    let mut key =
        if by_itself { own(tx, acting, id, overlap)? } else { lock_for(tx, acting, KeyAction::Rotate, id)? };
    if key.scopes.has(Scope::Admin) {
        acting.require_fresh()?;
    }
    if key.rotation(acting.now).is_some() {
        return Err(Error::RotationOpen);
    }
    let old = Superseded {
        secret: key.secret,
        fingerprint: key.fingerprint.clone(),
        at: now,
        by: acting.actor.to_string(),
        ends_at: until(now.plus(overlap), key.expires_at),
        ended: overlap == 0,
        own_end_at: key.expires_at,
    };
    let end = if by_itself {
        key.expires_at
    } else {
        next_end(&policy::store::lock_shared(tx, acting.org)?, acting.role()?, &key, now)
    };
    let secret = PlainSecret::generate(&defaults.prefix)?;
    key.secret = SecretId::new(now);
    key.fingerprint = secret.fingerprint();
    key.secret_made_at = now;
    key.set_end(end, &defaults.notices);
    secret_store::supersede(tx, key.org, &old)?;
    secret_store::insert(tx, &key, &secret, &defaults.keyring)?;
    let event = Event::KeyRotated {
        old_ends_at: old.ends_at,
        old_sha256_prefix: old.fingerprint.sha256_prefix.clone(),
        sha256_prefix: key.fingerprint.sha256_prefix.clone(),
        expires_at: key.expires_at,
    };
    emails::rotated(tx, acting, &key, old.ends_at)?;
    key.previous = Some(old);
    store::update(tx, &key)?;
    finish(tx, acting, key.id, &event)?;
    Ok((key, secret))
}

/// Moves the end of the overlap: at most to the old secret's own expiry, and to 30 days after the rotation.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `Conflict` when none is open, `Invalid`.
pub fn move_end(tx: &mut Tx<'_>, acting: &Acting, id: KeyId, to: Time) -> Result<Key> {
    let key = lock_for(tx, acting, KeyAction::Rotate, id)?;
    let Some(old) = key.rotation(acting.now) else {
        return Err(Error::Conflict("No rotation of this key is open."));
    };
    let to = to.whole_second();
    if to <= acting.now {
        return Err(Error::invalid("ends_at", "Choose a time in the future, or end the old secret now."));
    }
    if to > old.latest_end() {
        let latest = old.latest_end().rfc3339();
        return Err(Error::invalid("ends_at", format!("The old secret can work until {latest} at most.")));
    }
    let event = Event::RotationMoved { before: old.ends_at, after: to };
    if to > old.ends_at {
        KeyManager::of(acting)?.check(tx, KeyAction::Edit, &key)?;
        acting.require_current_secret_of(id)?;
        if key.scopes.has(Scope::Admin) {
            acting.require_fresh()?;
        }
        emails::widened(tx, acting, &key, &key, &[Widening::OldSecret(to)])?;
    }
    set_end_of_old(tx, acting, key, to, false, &event)
}

/// Ends the overlap now. Does nothing if no rotation is open.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`.
pub fn end(tx: &mut Tx<'_>, acting: &Acting, id: KeyId) -> Result<Key> {
    let key = lock_for(tx, acting, KeyAction::Rotate, id)?;
    let Some(old) = key.rotation(acting.now) else { return Ok(key) };
    let event = Event::RotationEnded { before: old.ends_at };
    set_end_of_old(tx, acting, key, acting.now.whole_second(), true, &event)
}

fn set_end_of_old(
    tx: &mut Tx<'_>,
    acting: &Acting,
    mut key: Key,
    to: Time,
    ended: bool,
    event: &Event,
) -> Result<Key> {
    if let Some(old) = key.previous.as_mut().filter(|old| (old.ends_at, old.ended) != (to, ended)) {
        (old.ends_at, old.ended) = (to, ended);
        secret_store::supersede(tx, key.org, old)?;
        key.end_changes += 1;
        store::update(tx, &key)?;
        finish(tx, acting, key.id, event)?;
    }
    Ok(key)
}

impl Superseded {
    /// The latest time to which the end of the overlap may be moved.
    pub fn latest_end(&self) -> Time {
        until(self.at.plus(MAX_OVERLAP), self.own_end_at)
    }
}

/// Locks the acting key for a rotation by itself.
///
/// Errors: `NotFound`, `KeyEnded`, `Forbidden`, `KeyRefused`, `Invalid`.
fn own(tx: &mut Tx<'_>, acting: &Acting, id: KeyId, overlap: i64) -> Result<Key> {
    let key = store::lock(tx, acting.org, id)?;
    match key.status(acting.now) {
        Status::Expired | Status::Revoked => return Err(Error::KeyEnded),
        Status::Disabled => return Err(Error::Forbidden),
        Status::Active | Status::Expiring => {}
    }
    // Without self-rotation, a key needs `admin` to rotate, like any other key.
    if !key.settings.self_rotate {
        return Err(Error::KeyRefused(Refusal::MissingScope(Scope::Admin)));
    }
    // A key whose owner lost all rights to it must not get a new secret.
    let in_effect = acting.key().map(|key| key.scopes).unwrap_or_default();
    if in_effect.is_empty() || key.scopes.has(Scope::Admin) {
        return Err(Error::Forbidden);
    }
    if overlap < MIN_OWN_OVERLAP {
        return Err(Error::invalid(
            "overlap",
            "A key that rotates itself keeps its old secret for 1h or more.",
        ));
    }
    Ok(key)
}

fn until(at: Time, end: Option<Time>) -> Time {
    end.map_or(at, |end| end.min(at))
}

/// The expiry of a key that someone in this role rotates at `now`: after another lifetime of the same
/// length, as far as the policy allows. A key that never expires stays so only if they may choose that.
pub fn next_end(policy: &Policy, role: Role, key: &Key, now: Time) -> Option<Time> {
    let latest = policy.latest_end(now);
    match key.expires_at {
        Some(end) => Some(restarted(key.secret_made_at, end, now).min(latest)),
        None if policy.allows_never(role) => None,
        None => Some(latest),
    }
}

/// The end of a lifetime that starts at `now` and is as long as that from `made` to `end`.
fn restarted(made: Time, end: Time, now: Time) -> Time {
    now.plus(end.since(made).clamp(1, MAX_DAYS * DAY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_a_span_of_up_to_thirty_days() {
        let parsed = |text| parse_overlap(Some(text)).ok();
        assert_eq!(parse_overlap(None).ok(), Some(DAY));
        assert_eq!(parsed("0s"), Some(0));
        assert_eq!(parsed("90m"), Some(5_400));
        assert_eq!(parsed("30d"), Some(MAX_OVERLAP));
        for wrong in ["", "31d", "2592001s", "-1h", "24", "24 h", "1w", "99999999999999999999d"] {
            assert!(parse_overlap(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lifetime_restarts_and_is_at_most_ten_years() {
        let at = Time::from_seconds;
        assert_eq!(restarted(at(100), at(100 + 90 * DAY), at(1_000)), at(1_000 + 90 * DAY));
        assert_eq!(restarted(at(0), at(20 * 366 * DAY), at(50)), at(50 + MAX_DAYS * DAY));
    }
}
