//! What becomes of the keys of a member who goes: each is handed over, left to its backup or
//! revoked, in one transaction with the end of the membership. No living key is without an owner.

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
use crate::keys::{Contact, Key, mails, store, widening};
use crate::orgs::membership;
use crate::orgs::service;
use crate::orgs::store::{self as members, Membership};
use crate::people::store::Person;
use crate::role::Role;
use crate::schema::api_keys;
use crate::time::Time;

/// Why keys end with their owner's membership, in the log.
const REASON: &str = "Its owner left";

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Another member owns it from now on.
    HandOver(UserId),
    /// Its backup owns it from now on.
    ToBackup,
    /// It ends.
    Revoke,
}

/// What was decided about everything that a member leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Will {
    /// What becomes of which key.
    pub fates: HashMap<KeyId, Fate>,
    /// What becomes of all other keys.
    pub rest: Option<Fate>,
    /// Which person answers for which service account from now on.
    pub answerers: Vec<(UserId, UserId)>,
}

/// What a member leaves behind.
#[derive(Clone, Debug)]
pub struct Estate {
    /// Living keys that they own.
    pub keys: Vec<Key>,
    /// Living keys of others whose backup they are.
    pub backed_up: Vec<Key>,
    /// Service accounts for which nobody else answers.
    pub accounts: Vec<Person>,
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// How many keys have another owner.
    pub handed_over: i64,
    /// How many keys ended.
    pub revoked: i64,
    /// How many keys of others have no backup any more.
    pub without_backup: i64,
}

/// The condition that a key has not ended.
macro_rules! living {
    ($org:expr, $now:expr) => {
        api_keys::org_id
            .eq($org)
            .and(api_keys::revoked_at.is_null())
            .and(api_keys::expires_at.is_null().or(api_keys::expires_at.assume_not_null().gt($now)))
    };
}

/// What a member would leave behind, keys by name.
pub fn estate(conn: &mut Conn, org: OrgId, who: UserId, now: Time) -> Result<Estate> {
    let keys = ids(conn, org, who, now)?;
    let backed_up: Vec<KeyId> = api_keys::table
        .filter(living!(org, now).and(api_keys::backup_id.eq(who)).and(api_keys::owner_id.ne(who)))
        .order((api_keys::name_folded, api_keys::id))
        .select(api_keys::id)
        .load(conn)?;
    Ok(Estate {
        keys: store::by_ids(conn, org, &keys)?,
        backed_up: store::by_ids(conn, org, &backed_up)?,
        accounts: service::answered_alone(conn, org, who)?,
    })
}

/// How many living keys each member owns.
pub fn living_by_owner(conn: &mut Conn, org: OrgId, now: Time) -> Result<HashMap<UserId, i64>> {
    let rows: Vec<(UserId, i64)> = api_keys::table
        .filter(living!(org, now))
        .group_by(api_keys::owner_id)
        .select((api_keys::owner_id, count_star()))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Ends a membership after settling everything that it leaves behind.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner, `Invalid` on `keys` or
/// `answerers` where the will leaves something open or gives what can't be had.
pub fn leave(tx: &mut Tx<'_>, acting: &Acting, who: UserId, will: &Will) -> Result<Settled> {
    let (acting_role, member) = membership::leaving(tx, acting, who)?;
    let mut settled = Settled::default();
    let mut errors = Vec::new();
    for id in ids(tx.conn, acting.org, who, acting.now)? {
        let mut key = store::lock(tx, acting.org, id)?;
        if key.owner.id != who || key.status(acting.now).is_ended() {
            continue;
        }
        let fate = will.fates.get(&id).copied().or(will.rest);
        match heir(tx, acting, acting_role, &member, &key, fate) {
            Ok(Some(heir)) => {
                let before = key.clone();
                key.backup = key.backup.filter(|backup| backup.id != heir.id);
                key.owner = heir;
                update(tx, acting, &before, &key)?;
                settled.handed_over += 1;
            }
            Ok(None) => {
                lifecycle::end(tx, acting, key, Some(REASON.to_owned()))?;
                settled.revoked += 1;
            }
            Err(Error::Invalid(complaints)) => errors.extend(complaints),
            Err(other) => return Err(other),
        }
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    for key in estate(tx.conn, acting.org, who, acting.now)?.backed_up {
        let before = store::lock(tx, acting.org, key.id)?;
        if before.backup.as_ref().is_some_and(|backup| backup.id == who) {
            update(tx, acting, &before, &Key { backup: None, ..before.clone() })?;
            settled.without_backup += 1;
        }
    }
    if member.is_service() {
        service::forget_answerers(tx, acting.org, who)?;
    } else {
        service::replace_answerer(tx, acting, who, &will.answerers)?;
    }
    membership::end(tx, acting, &member)?;
    Ok(settled)
}

/// Who gets the key; `None` when it ends.
fn heir(
    tx: &mut Tx<'_>,
    acting: &Acting,
    acting_role: Role,
    leaving: &Membership,
    key: &Key,
    fate: Option<Fate>,
) -> Result<Option<Contact>> {
    let refuse = |message: String| Err(Error::Invalid(vec![FieldError::new("keys", message)]));
    let backup = key.backup.as_ref().map(|backup| backup.id);
    let id = match (fate, backup) {
        (Some(Fate::Revoke), _) => return Ok(None),
        (Some(Fate::HandOver(id)), _) | (Some(Fate::ToBackup), Some(id)) => id,
        (Some(Fate::ToBackup), None) => {
            return refuse(format!("{} has no backup. Choose who gets it.", key.name));
        }
        (None, _) => return refuse(format!("Choose what becomes of {}.", key.name)),
    };
    let heir = members::find_member(tx.conn, acting.org, &id.to_string())?;
    let Some(heir) = heir.filter(|heir| heir.is_active() && heir.person.id != leaving.person.id) else {
        return refuse(format!("Whoever is to get {} is no active member. Choose another.", key.name));
    };
    // Whoever leaves on their own may leave keys to those who manage them anyway, and to backups.
    let free_to_choose = acting_role.manages_all_keys() || fate == Some(Fate::ToBackup);
    if !free_to_choose && !heir.role.manages_all_keys() && backup != Some(id) {
        return refuse(format!("Leave {} to an owner, an admin or its backup.", key.name));
    }
    let before = key.scopes.intersection(leaving.role.grantable());
    let after = key.scopes.intersection(heir.role.grantable());
    let lost = before.without(after);
    if !lost.is_empty() {
        let (name, scopes) = (&heir.person.name, lost.names().join(", "));
        return refuse(format!("{name} can’t hold {scopes}, which {} has. Choose another.", key.name));
    }
    let gained = after.without(before).without(acting_role.grantable());
    if !gained.is_empty() {
        return refuse(format!("You may not grant {} with {}.", gained.names().join(", "), key.name));
    }
    // The one who leaves knows the secret, and must not gain by giving the key away.
    if !acting_role.manages_all_keys() && StandInBounds::read(tx.conn, key)?.grows_for(heir.role, key) {
        let (name, heir) = (&key.name, &heir.person.name);
        return refuse(format!(
            "{name} could do more if {heir} owned it. Ask an admin to change its owner first, or revoke it."
        ));
    }
    Ok(Some(Contact { id, email: heir.person.email, name: heir.person.name }))
}

fn update(tx: &mut Tx<'_>, acting: &Acting, before: &Key, after: &Key) -> Result<()> {
    store::update(tx, after)?;
    mails::widened(tx, acting, before, after, &widening::between(before, after))?;
    lifecycle::finish(tx, acting, after.id, &Event::KeyUpdated { changes: changes(before, after) })
}

fn ids(conn: &mut Conn, org: OrgId, owner: UserId, now: Time) -> Result<Vec<KeyId>> {
    Ok(api_keys::table
        .filter(living!(org, now).and(api_keys::owner_id.eq(owner)))
        .order((api_keys::name_folded, api_keys::id))
        .select(api_keys::id)
        .load(conn)?)
}
