//! How a change of the organisation's policy affects existing keys. The preview and the change itself use the
//! same comparison.
//!
//! Saving a change moves the expiry of keys, never to before the date on which the change applies to them, so
//! that their owners are notified as for any expiry. Scopes and limits stay stored on the key; each request
//! gets only what the policy allows at that time.

use diesel::prelude::*;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::Acting;
use crate::catalogue::list::{self, ModelList};
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::keys::{expiry_store, feed};
use crate::notices::schedule::Steps;
use crate::orgs::policy::{self, Effective, KeyTerms, Policy, Rules};
use crate::role::Role;
use crate::schema::{api_keys, key_secrets, members, people, policy_ends};
use crate::scope::Scopes;
use crate::time::Time;

/// A key that has not ended, with what a policy restricts.
struct ActiveKey {
    id: KeyId,
    name: String,
    held: KeyTerms,
    /// Its current expiry; the expiry that was chosen for it is in `held`.
    ends: Option<Time>,
}

/// How a change affects one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    pub id: KeyId,
    pub name: String,
    /// The scopes that it loses on the date.
    pub loses: Scopes,
    /// The scopes that it gains immediately.
    pub gains: Scopes,
    /// Its current expiry.
    pub ends: Option<Time>,
    /// Its expiry after the change.
    pub would_end: Option<Time>,
    /// Its limit without the change, in requests per minute.
    pub limit: u32,
    /// Its limit from the date on, in requests per minute.
    pub would_limit: u32,
    /// The models that it may call from the date on, if it loses some; `None` inside is all.
    pub fewer_models: Option<Option<ModelList>>,
    /// The models that it may call immediately, if it gains some; `None` inside is all.
    pub more_models: Option<Option<ModelList>>,
}

impl Effect {
    /// Whether the key would expire earlier.
    pub fn ends_earlier(&self) -> bool {
        is_earlier(self.would_end, self.ends)
    }

    /// Whether the key would expire later, because an earlier change is undone before its date.
    pub fn ends_later(&self) -> bool {
        is_earlier(self.ends, self.would_end)
    }

    fn is_none(&self) -> bool {
        self.loses.is_empty()
            && self.gains.is_empty()
            && self.ends == self.would_end
            && self.limit == self.would_limit
            && self.fewer_models.is_none()
            && self.more_models.is_none()
    }
}

fn is_earlier(one: Option<Time>, other: Option<Time>) -> bool {
    one.is_some_and(|one| other.is_none_or(|other| one < other))
}

/// How a change affects all keys of an organisation.
#[derive(Clone, Debug, Default)]
pub struct Preview {
    /// The keys that the change affects.
    pub effects: Vec<Effect>,
    /// The number of keys that it does not affect.
    pub staying: usize,
}

/// What saving `rules` at `now` would do, if they apply to existing keys from `date`.
pub fn preview(conn: &mut Conn, org: OrgId, rules: Rules, date: Time, now: Time) -> Result<Preview> {
    let current = policy::store::find(conn, org)?;
    let mut next = current.changed(rules, date, now);
    let keys = active_keys(conn, org, &current, now)?;
    next.saved_at = Some(after_all(&keys, now));
    Ok(compare(&current, &next, &keys, date, now))
}

/// Saves rules, which apply to existing keys from `date`, and moves the expiry of these keys. Returns what
/// changed. Nothing is recorded if the rules are the same as before.
///
/// Errors: `Invalid` for rules that contradict each other and for a date that is too early or too late.
pub fn save(tx: &mut Tx<'_>, acting: &Acting, notices: &Steps, rules: Rules, date: Time) -> Result<Preview> {
    let (org, now) = (acting.org, acting.now);
    let current = policy::store::lock(tx, org)?;
    let mut next = current.changed(rules, date, now);
    let pending = current.earlier.as_ref().filter(|earlier| now < earlier.until);
    if next.rules == current.rules && next.earlier.as_ref() == pending {
        return Ok(Preview::default());
    }
    next.rules.check().map_err(Error::Invalid)?;
    acting.require_fresh()?;
    if next.earlier.is_some() {
        policy::check_date(date, now).map_err(|error| Error::Invalid(vec![error]))?;
    }
    let keys = active_keys(tx.conn, org, &current, now)?;
    next.saved_at = Some(after_all(&keys, now));
    let done = compare(&current, &next, &keys, date, now);
    policy::store::save(tx, org, &next, now)?;
    diesel::delete(policy_ends::table.filter(policy_ends::org_id.eq(org))).execute(tx.conn)?;
    for key in &keys {
        move_end(tx, acting, notices, &next, key)?;
    }
    let changes = changes(&current.rules, &next.rules);
    let date = next.earlier.as_ref().map(|earlier| earlier.until);
    log::append(tx, acting, &org.to_string(), &Event::PolicyUpdated { changes, existing_keys_from: date })?;
    let touched: Vec<KeyId> =
        keys.iter().filter(|key| is_touched(&current, &next, key)).map(|key| key.id).collect();
    feed::publish_all(tx, org, &touched, now)?;
    Ok(done)
}

/// `now`, or later if a process whose clock is ahead created one of the keys: they all existed before the rules.
fn after_all(keys: &[ActiveKey], now: Time) -> Time {
    keys.iter().map(|key| key.held.made).fold(now, Time::max)
}

fn move_end(tx: &mut Tx<'_>, acting: &Acting, notices: &Steps, next: &Policy, key: &ActiveKey) -> Result<()> {
    let ends = next.bound_end(key.held.made, key.held.ends);
    if let (true, Some(moved_to)) = (ends != key.held.ends, ends) {
        diesel::insert_into(policy_ends::table)
            .values((
                policy_ends::key_id.eq(key.id),
                policy_ends::org_id.eq(acting.org),
                policy_ends::asked.eq(key.held.ends),
                policy_ends::moved_to.eq(moved_to),
            ))
            .execute(tx.conn)?;
    }
    if ends == key.ends {
        return Ok(());
    }
    let expiring_at = ends.and_then(|end| notices.expiring_at(key.held.made, end));
    expiry_store::set_end(tx, acting.org, key.id, ends, expiring_at)?;
    let change = Change { field: "expires_at".into(), before: json!(key.ends), after: json!(ends) };
    log::append(tx, acting, &key.id.to_string(), &Event::KeyUpdated { changes: vec![change] })
}

/// Whether processes that have cached the key must read it again.
fn is_touched(current: &Policy, next: &Policy, key: &ActiveKey) -> bool {
    current.rights(key.held.role) != next.rights(key.held.role)
        || key.ends != next.bound_end(key.held.made, key.held.ends)
}

fn compare(current: &Policy, next: &Policy, keys: &[ActiveKey], date: Time, now: Time) -> Preview {
    let effects = keys.iter().map(|key| {
        let was = current.effective(&key.held, date);
        let is = next.effective(&key.held, date);
        let (before, at_once) = (current.effective(&key.held, now), next.effective(&key.held, now));
        let reaches_further = |one: &Effective, other: &Effective| {
            list::reaches_further(one.models.as_ref(), other.models.as_ref())
        };
        Effect {
            id: key.id,
            name: key.name.clone(),
            loses: was.scopes.without(is.scopes),
            gains: at_once.scopes.without(before.scopes),
            fewer_models: reaches_further(&was, &is).then(|| is.models.clone()),
            more_models: reaches_further(&at_once, &before).then(|| at_once.models.clone()),
            ends: key.ends,
            would_end: is.ends,
            limit: was.rpm,
            would_limit: is.rpm,
        }
    });
    let (staying, effects): (Vec<_>, Vec<_>) = effects.partition(Effect::is_none);
    Preview { effects, staying: staying.len() }
}

fn active_keys(conn: &mut Conn, org: OrgId, current: &Policy, now: Time) -> Result<Vec<ActiveKey>> {
    type Row = (
        (KeyId, String, String, i64, Option<Time>, Option<ModelList>),
        Time,
        (Option<Role>, Option<Time>, Option<Time>),
        Option<(Option<Time>, Time)>,
    );
    let rows: Vec<Row> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
        .left_join(
            members::table
                .on(members::org_id.eq(api_keys::org_id).and(members::person_id.eq(api_keys::owner_id))),
        )
        .left_join(policy_ends::table.on(policy_ends::key_id.eq(api_keys::id)))
        .filter(api_keys::org_id.eq(org).and(api_keys::revoked_at.is_null()))
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .order((api_keys::name_folded, api_keys::id))
        .select((
            (
                api_keys::id,
                api_keys::name,
                api_keys::scopes,
                api_keys::requests_per_minute,
                api_keys::expires_at,
                api_keys::models,
            ),
            key_secrets::created_at,
            (members::role.nullable(), members::disabled_at.nullable(), people::disabled_at),
            (policy_ends::asked, policy_ends::moved_to).nullable(),
        ))
        .load(conn)?;
    let pending = current.earlier.as_ref().is_some_and(|earlier| now < earlier.until);
    rows.into_iter()
        .map(|((id, name, scopes, rpm, ends, models), made, (role, member_disabled, disabled), moved)| {
            // Before the date, an expiry that was moved and not changed since can be restored.
            let chosen = match moved {
                Some((chosen, moved_to)) if pending && ends == Some(moved_to) => chosen,
                _ => ends,
            };
            let role = role.filter(|_| member_disabled.is_none() && disabled.is_none());
            let scopes = Scopes::from_text(&scopes);
            let rpm = u32::try_from(rpm).map_err(Error::unreadable)?;
            Ok(ActiveKey { id, name, held: KeyTerms { made, ends: chosen, scopes, rpm, models, role }, ends })
        })
        .collect()
}

fn changes(before: &Rules, after: &Rules) -> Vec<Change> {
    let all = [
        ("longest_life_days", json!(before.longest_days), json!(after.longest_days)),
        ("keys_without_end", json!(before.never), json!(after.never)),
        ("default_expiry_days", json!(before.default_days), json!(after.default_days)),
        ("member_scopes", json!(before.member_scopes), json!(after.member_scopes)),
        ("default_requests_per_minute", json!(before.default_rpm), json!(after.default_rpm)),
        ("largest_requests_per_minute", json!(before.largest_rpm), json!(after.largest_rpm)),
        ("member_models", json!(before.member_models), json!(after.member_models)),
    ];
    let changed = all.into_iter().filter(|(_, before, after)| before != after);
    changed.map(|(field, before, after)| Change { field: field.into(), before, after }).collect()
}
