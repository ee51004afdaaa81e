//! Reads the facts about a few hundred keys at a time.

use std::collections::{HashMap, HashSet};

use diesel::dsl::{max, min};
use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::orgs;
use crate::review::rules::{Facts, WEEK};
use crate::schema::{api_keys, key_addresses, scope_uses};
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};
use crate::usage::recent;

/// Not addresses: the bucket for clients beyond the per-key cap, and clients whose address is unknown.
const NOT_ADDRESSES: [&str; 2] = ["other", "unknown"];

type Row = (KeyId, Time, Option<Time>, Option<Time>, Option<Time>, Option<Time>, String, UserId);

/// The keys to read.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// This many behind a key, in the order of their ids.
    After(Option<KeyId>, i64),
    /// Exactly these.
    These(&'a [KeyId]),
}

/// Reads the facts about keys, in the order of their ids.
pub fn read(conn: &mut Conn, org: OrgId, which: Which<'_>, now: Time) -> Result<Vec<Facts>> {
    let mut query = api_keys::table
        .filter(api_keys::org_id.eq(org))
        .order(api_keys::id.asc())
        .select((
            api_keys::id,
            api_keys::created_at,
            api_keys::expires_at,
            api_keys::revoked_at,
            api_keys::disabled_at,
            api_keys::last_used_at,
            api_keys::scopes,
            api_keys::owner_id,
        ))
        .into_boxed();
    query = match which {
        Which::After(Some(after), limit) => query.filter(api_keys::id.gt(after)).limit(limit),
        Which::After(None, limit) => query.limit(limit),
        Which::These(keys) => query.filter(api_keys::id.eq_any(keys)),
    };
    let rows: Vec<Row> = query.load(conn)?;
    let ids: Vec<KeyId> = rows.iter().map(|row| row.0).collect();
    let mut owners: Vec<UserId> = rows.iter().map(|row| row.7).collect();
    owners.sort_unstable();
    owners.dedup();
    let owners = orgs::store::some_members(conn, org, owners)?.into_iter();
    let active: HashSet<UserId> =
        owners.filter(orgs::store::Membership::is_active).map(|member| member.person.id).collect();
    let mut scopes = scope_rows(conn, org, &ids)?;
    let used = recent::totals_by_key(conn, org, &ids, now.floor(DAY).plus((1 - WEEK) * DAY))?;
    let addresses: Vec<(KeyId, Option<Time>, Option<Time>)> = key_addresses::table
        .filter(key_addresses::org_id.eq(org).and(key_addresses::key_id.eq_any(&ids)))
        .filter(key_addresses::address.ne_all(NOT_ADDRESSES))
        .group_by(key_addresses::key_id)
        .select((key_addresses::key_id, min(key_addresses::first_seen_at), max(key_addresses::first_seen_at)))
        .load(conn)?;
    let addresses: HashMap<KeyId, (Time, Time)> =
        addresses.into_iter().filter_map(|(key, first, latest)| Some((key, (first?, latest?)))).collect();
    let facts = rows.into_iter().map(|row| {
        let (key, created_at, expires_at, revoked_at, disabled_at, last_used_at, held, owner) = row;
        let used = used.get(&key).copied().unwrap_or_default();
        Facts {
            key,
            created_at,
            expires_at,
            revoked_at,
            disabled: disabled_at.is_some(),
            last_used_at,
            scopes: Scopes::from_text(&held),
            owner_is_active: active.contains(&owner),
            scope_uses: scopes.remove(&key).unwrap_or_default(),
            requests: used.requests,
            errors: used.client_errors + used.server_errors,
            addresses: addresses.get(&key).copied(),
        }
    });
    Ok(facts.collect())
}

/// The addresses from which keys were first called in the last week, with the times, oldest first.
pub fn new_addresses(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    now: Time,
) -> Result<HashMap<KeyId, Vec<(String, Time)>>> {
    let rows: Vec<(KeyId, String, Time)> = key_addresses::table
        .filter(key_addresses::org_id.eq(org).and(key_addresses::key_id.eq_any(keys)))
        .filter(key_addresses::address.ne_all(NOT_ADDRESSES))
        .filter(key_addresses::first_seen_at.gt(now.plus(-WEEK * DAY)))
        .order((key_addresses::first_seen_at.asc(), key_addresses::address.asc()))
        .select((key_addresses::key_id, key_addresses::address, key_addresses::first_seen_at))
        .load(conn)?;
    let mut new: HashMap<KeyId, Vec<(String, Time)>> = HashMap::new();
    for (key, address, seen) in rows {
        new.entry(key).or_default().push((address, seen));
    }
    Ok(new)
}

type ScopeUses = Vec<(Scope, Option<Time>, Option<Time>)>;

fn scope_rows(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashMap<KeyId, ScopeUses>> {
    let rows: Vec<(KeyId, String, Option<Time>, Option<Time>)> = scope_uses::table
        .filter(scope_uses::org_id.eq(org).and(scope_uses::key_id.eq_any(keys)))
        .select((scope_uses::key_id, scope_uses::scope, scope_uses::granted_at, scope_uses::last_used_at))
        .load(conn)?;
    let mut uses: HashMap<KeyId, ScopeUses> = HashMap::new();
    for (key, scope, granted, last) in rows {
        if let Some(scope) = Scope::parse(&scope) {
            uses.entry(key).or_default().push((scope, granted, last));
        }
    }
    Ok(uses)
}
