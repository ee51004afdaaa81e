//! Removes a member together with their keys: each key gets a new owner or is revoked, in one transaction
//! with the end of the membership. So no working key is without an owner.

use std::collections::HashMap;

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::audit::event::Event;
use crate::authority::Acting;
use crate::db::{Conn, Tx};
use crate::error::{Error, FieldError, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::lifecycle::{self, changes};
use crate::keys::manager::StandInBounds;
use crate::keys::{Contact, Key, emails, gains, store};
use crate::orgs::membership;
use crate::orgs::service;
use crate::orgs::store::{self as members, Membership};
use crate::people::store::Person;
use crate::role::Role;
use crate::schema::api_keys;
use crate::time::Time;

/// The reason for revoking a key with its owner's membership, in the audit log.
const REASON: &str = "Its owner left";

/// What happens to a key of a member who is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyDisposition {
    /// This member becomes its owner.
    HandOver(UserId),
    /// Its backup becomes its owner.
    ToBackup,
    Revoke,
}

/// What happens to everything that a removed member was responsible for.
#[derive(Clone, Debug, Default)]
pub struct OffboardingPlan {
    pub keys: HashMap<KeyId, KeyDisposition>,
    /// What happens to all keys that `keys` does not list.
    pub other_keys: Option<KeyDisposition>,
    /// Service accounts, each with the person who becomes responsible for it.
    pub answerers: Vec<(UserId, UserId)>,
}

/// Everything that a member is responsible for.
#[derive(Clone, Debug)]
pub struct OwnedKeys {
    /// Keys that they own and that have not ended.
    pub keys: Vec<Key>,
    /// Keys of others that have not ended and whose backup they are.
    pub backed_up: Vec<Key>,
    /// Service accounts for which no one else is responsible.
    pub accounts: Vec<Person>,
}

/// How many keys an offboarding changed.
#[derive(Clone, Debug, Default)]
pub struct OffboardingSummary {
    /// Keys with a new owner.
    pub handed_over: i64,
    pub revoked: i64,
    /// Keys of others that lost their backup.
    pub without_backup: i64,
}

/// The condition that a key has not ended.
macro_rules! not_ended {
    ($org:expr, $now:expr) => {
        api_keys::org_id
            .eq($org)
            .and(api_keys::revoked_at.is_null())
            .and(api_keys::expires_at.is_null().or(api_keys::expires_at.assume_not_null().gt($now)))
    };
}

/// Everything that a member is responsible for, keys sorted by name.
pub fn owned_by(conn: &mut Conn, org: OrgId, who: UserId, now: Time) -> Result<OwnedKeys> {
    let keys = ids(conn, org, who, now)?;
    let backed_up: Vec<KeyId> = api_keys::table
        .filter(not_ended!(org, now).and(api_keys::backup_id.eq(who)).and(api_keys::owner_id.ne(who)))
        .order((api_keys::name_folded, api_keys::id))
        .select(api_keys::id)
        .load(conn)?;
    Ok(OwnedKeys {
        keys: store::by_ids(conn, org, &keys)?,
        backed_up: store::by_ids(conn, org, &backed_up)?,
        accounts: service::answered_alone(conn, org, who)?,
    })
}

/// How many keys each member owns, not counting ended keys.
pub fn count_by_owner(conn: &mut Conn, org: OrgId, now: Time) -> Result<HashMap<UserId, i64>> {
    let rows: Vec<(UserId, i64)> = api_keys::table
        .filter(not_ended!(org, now))
        .group_by(api_keys::owner_id)
        .select((api_keys::owner_id, count_star()))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Carries out the plan and then ends the membership.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner, `Invalid` on `keys` or
/// `answerers` where the plan leaves something out or names someone who cannot take over.
pub fn offboard(
    tx: &mut Tx<'_>,
    acting: &Acting,
    who: UserId,
    plan: &OffboardingPlan,
) -> Result<OffboardingSummary> {
    let (acting_role, member) = membership::leaving(tx, acting, who)?;
    let mut summary = OffboardingSummary::default();
    let mut errors = Vec::new();
    for id in ids(tx.conn, acting.org, who, acting.now)? {
        let mut key = store::lock(tx, acting.org, id)?;
        if key.owner.id != who || key.status(acting.now).is_ended() {
            continue;
        }
        let disposition = plan.keys.get(&id).copied().or(plan.other_keys);
        match new_owner(tx, acting, acting_role, &member, &key, disposition) {
            Ok(Some(owner)) => {
                let before = key.clone();
                key.backup = key.backup.filter(|backup| backup.id != owner.id);
                key.owner = owner;
                update(tx, acting, &before, &key)?;
                summary.handed_over += 1;
            }
            Ok(None) => {
                lifecycle::end(tx, acting, key, Some(REASON.to_owned()))?;
                summary.revoked += 1;
            }
            Err(Error::Invalid(found)) => errors.extend(found),
            Err(other) => return Err(other),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    for key in owned_by(tx.conn, acting.org, who, acting.now)?.backed_up {
        let before = store::lock(tx, acting.org, key.id)?;
        if before.backup.as_ref().is_some_and(|backup| backup.id == who) {
            update(tx, acting, &before, &Key { backup: None, ..before.clone() })?;
            summary.without_backup += 1;
        }
    }
    if member.is_service() {
        service::forget_answerers(tx, acting.org, who)?;
    } else {
        service::replace_answerer(tx, acting, who, &plan.answerers)?;
    }
    membership::end(tx, acting, &member)?;
    Ok(summary)
}

/// The new owner of the key, or `None` if it is to be revoked.
fn new_owner(
    tx: &mut Tx<'_>,
    acting: &Acting,
    acting_role: Role,
    leaving: &Membership,
    key: &Key,
    disposition: Option<KeyDisposition>,
) -> Result<Option<Contact>> {
    let refuse = |message: String| Err(Error::Invalid(vec![FieldError::new("keys", message)]));
    let backup = key.backup.as_ref().map(|backup| backup.id);
    let id = match (disposition, backup) {
        (Some(KeyDisposition::Revoke), _) => return Ok(None),
        (Some(KeyDisposition::HandOver(id)), _) | (Some(KeyDisposition::ToBackup), Some(id)) => id,
        (Some(KeyDisposition::ToBackup), None) => {
            return refuse(format!("{} has no backup. Choose a new owner.", key.name));
        }
        (None, _) => return refuse(format!("Choose what happens to {}.", key.name)),
    };
    let owner = members::find_member(tx.conn, acting.org, &id.to_string())?;
    let Some(owner) = owner.filter(|owner| owner.is_active() && owner.person.id != leaving.person.id) else {
        return refuse(format!("The new owner of {} must be an active member. Choose another.", key.name));
    };
    // Members who leave by themselves may give keys only to owners, admins and backups.
    let free_to_choose = acting_role.manages_all_keys() || disposition == Some(KeyDisposition::ToBackup);
    if !free_to_choose && !owner.role.manages_all_keys() && backup != Some(id) {
        return refuse(format!("Leave {} to an owner, an admin or its backup.", key.name));
    }
    let before = key.scopes.intersection(leaving.role.grantable());
    let after = key.scopes.intersection(owner.role.grantable());
    let lost = before.without(after);
    if !lost.is_empty() {
        let (name, scopes) = (&owner.person.name, lost.names().join(", "));
        return refuse(format!("{name} may not have {scopes}, which {} has. Choose another.", key.name));
    }
    let gained = after.without(before).without(acting_role.grantable());
    if !gained.is_empty() {
        return refuse(format!("You may not grant {}, which {} has.", gained.names().join(", "), key.name));
    }
    // Someone who leaves knows the secret, and must not gain rights by giving the key away.
    if !acting_role.manages_all_keys() && StandInBounds::read(tx.conn, key)?.grows_for(owner.role, key) {
        let (name, owner) = (&key.name, &owner.person.name);
        return refuse(format!(
            "{name} could do more if {owner} owned it. Ask an admin to change its owner first, or revoke it."
        ));
    }
    Ok(Some(Contact { id, email: owner.person.email, name: owner.person.name }))
}

fn update(tx: &mut Tx<'_>, acting: &Acting, before: &Key, after: &Key) -> Result<()> {
    store::update(tx, after)?;
    emails::widened(tx, acting, before, after, &gains::between(before, after))?;
    lifecycle::finish(tx, acting, after.id, &Event::KeyUpdated { changes: changes(before, after) })
}

fn ids(conn: &mut Conn, org: OrgId, owner: UserId, now: Time) -> Result<Vec<KeyId>> {
    Ok(api_keys::table
        .filter(not_ended!(org, now).and(api_keys::owner_id.eq(owner)))
        .order((api_keys::name_folded, api_keys::id))
        .select(api_keys::id)
        .load(conn)?)
}
