//! Rows of findings, snoozes, removed scopes and scans.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::review::rules::{Finding, FindingKind};
use crate::schema::{review_cards, review_findings, review_keeps, review_looks, scope_removals};
use crate::scope::Scope;
use crate::time::Time;

/// Identifies a finding: its key, the name of its kind, and its scope or an empty text.
pub type Place = (KeyId, String, String);

/// A scan of an organisation's keys.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Scan {
    /// When its findings were stored or computed.
    pub at: Time,
    /// Keys that had neither expired nor been revoked.
    pub active_keys: i64,
    /// Those among them with an open finding.
    pub open_keys: i64,
}

/// A snoozed finding.
#[derive(Clone, Debug, Queryable)]
pub struct Snooze {
    pub key: KeyId,
    /// The name of the finding's kind.
    pub kind: String,
    /// The finding's scope, or an empty text.
    pub scope: String,
    pub by: UserId,
    pub at: Time,
    pub until: Time,
}

/// A scope that was removed on advice.
#[derive(Clone, Debug, Queryable)]
pub struct Removal {
    pub key: KeyId,
    pub scope: String,
    pub by: UserId,
    pub at: Time,
}

/// The name of a scope, or an empty text.
pub fn scope_name(scope: Option<Scope>) -> &'static str {
    scope.map_or("", Scope::name)
}

/// How many findings are open, over all kinds: the number in the navigation.
pub fn open(conn: &mut Conn, org: OrgId) -> Result<i64> {
    Ok(counts(conn, org)?.values().sum())
}

/// How many findings are open, by the names of their kinds. Kinds without findings are left out.
pub fn counts(conn: &mut Conn, org: OrgId) -> Result<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = review_cards::table
        .filter(review_cards::org_id.eq(org).and(review_cards::found.ne(0)))
        .select((review_cards::card, review_cards::found))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The last scan that stored something, if there was one.
pub fn last_scan(conn: &mut Conn, org: OrgId) -> Result<Option<Scan>> {
    Ok(review_looks::table
        .filter(review_looks::org_id.eq(org).and(review_looks::looked_at.gt(Time::from_seconds(0))))
        .select((review_looks::looked_at, review_looks::live_keys, review_looks::open_keys))
        .first(conn)
        .optional()?)
}

/// Open findings of a kind with their scopes, oldest first.
pub fn of_kind(
    conn: &mut Conn,
    org: OrgId,
    kind: FindingKind,
    (offset, limit): (i64, i64),
) -> Result<Vec<(KeyId, String, Time)>> {
    use review_findings as f;
    Ok(f::table
        .filter(f::org_id.eq(org).and(f::card.eq(kind.name())))
        .order((f::since.asc(), f::key_id.asc(), f::scope.asc()))
        .select((f::key_id, f::scope, f::since))
        .offset(offset)
        .limit(limit)
        .load(conn)?)
}

/// Open findings of a kind about keys behind one, in the order of keys, for exports.
pub fn of_kind_after(
    conn: &mut Conn,
    org: OrgId,
    kind: FindingKind,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<(KeyId, String, Time)>> {
    use review_findings as f;
    let mut query = f::table
        .filter(f::org_id.eq(org).and(f::card.eq(kind.name())))
        .order((f::key_id.asc(), f::scope.asc()))
        .select((f::key_id, f::scope, f::since))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(f::key_id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// Snoozes that have not ended, latest first.
pub fn snoozes(conn: &mut Conn, org: OrgId, now: Time, limit: i64) -> Result<Vec<Snooze>> {
    use review_keeps as k;
    Ok(k::table
        .filter(k::org_id.eq(org).and(k::until.gt(now)))
        .order((k::until.desc(), k::key_id.asc(), k::card.asc(), k::scope.asc()))
        .select((k::key_id, k::card, k::scope, k::kept_by, k::kept_at, k::until))
        .limit(limit)
        .load(conn)?)
}

/// The snoozed findings about these keys, and since when.
pub fn snoozed(conn: &mut Conn, org: OrgId, keys: &[KeyId], now: Time) -> Result<HashMap<Place, Time>> {
    use review_keeps as k;
    let rows: Vec<(Place, Time)> = k::table
        .filter(k::org_id.eq(org).and(k::key_id.eq_any(keys)).and(k::until.gt(now)))
        .select(((k::key_id, k::card, k::scope), k::kept_at))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Snoozes a finding, or prolongs its snooze.
pub fn insert_snooze(
    tx: &mut Tx<'_>,
    org: OrgId,
    (key, kind, scope): (KeyId, FindingKind, Option<Scope>),
    by: UserId,
    (now, until): (Time, Time),
) -> Result<()> {
    use review_keeps as k;
    each!(tx.conn, |c| {
        diesel::insert_into(k::table)
            .values((
                k::org_id.eq(org),
                k::key_id.eq(key),
                k::card.eq(kind.name()),
                k::scope.eq(scope_name(scope)),
                k::kept_by.eq(by),
                k::kept_at.eq(now),
                k::until.eq(until),
            ))
            .on_conflict((k::org_id, k::key_id, k::card, k::scope))
            .do_update()
            .set((k::kept_by.eq(by), k::kept_at.eq(now), k::until.eq(until)))
            .execute(c)
    })?;
    Ok(())
}

/// Ends a snooze. Returns whether there was one.
pub fn delete_snooze(
    tx: &mut Tx<'_>,
    org: OrgId,
    key: KeyId,
    kind: FindingKind,
    scope: Option<Scope>,
    now: Time,
) -> Result<bool> {
    use review_keeps as k;
    let gone = diesel::delete(k::table)
        .filter(k::org_id.eq(org).and(k::key_id.eq(key)).and(k::card.eq(kind.name())))
        .filter(k::scope.eq(scope_name(scope)).and(k::until.gt(now)))
        .execute(tx.conn)?;
    Ok(gone > 0)
}

/// The stored findings about these keys.
pub fn of_keys(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashMap<Place, Time>> {
    use review_findings as f;
    let rows: Vec<(KeyId, String, String, Time)> = f::table
        .filter(f::org_id.eq(org).and(f::key_id.eq_any(keys)))
        .select((f::key_id, f::card, f::scope, f::since))
        .load(conn)?;
    Ok(rows.into_iter().map(|(key, card, scope, since)| ((key, card, scope), since)).collect())
}

/// Replaces stored findings by others; rows that both contain stay.
pub fn replace(
    tx: &mut Tx<'_>,
    org: OrgId,
    before: &HashMap<Place, Time>,
    after: &HashMap<Place, Time>,
) -> Result<()> {
    use review_findings as f;
    for ((key, kind, scope), since) in before {
        if after.get(&(*key, kind.clone(), scope.clone())) != Some(since) {
            diesel::delete(f::table.find((org, kind, *key, scope))).execute(tx.conn)?;
        }
    }
    let new = after.iter().filter(|(place, since)| before.get(*place) != Some(*since));
    for ((key, kind, scope), since) in new {
        diesel::insert_into(f::table)
            .values((
                f::org_id.eq(org),
                f::card.eq(kind),
                f::key_id.eq(*key),
                f::scope.eq(scope),
                f::since.eq(*since),
            ))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// The place of a finding.
pub fn place(key: KeyId, finding: &Finding) -> Place {
    (key, finding.kind.name().to_owned(), scope_name(finding.scope).to_owned())
}

/// Stores that a scope was removed on advice.
pub fn insert_removal(
    tx: &mut Tx<'_>,
    org: OrgId,
    key: KeyId,
    scope: Scope,
    by: UserId,
    now: Time,
) -> Result<()> {
    diesel::insert_into(scope_removals::table)
        .values((
            scope_removals::org_id.eq(org),
            scope_removals::key_id.eq(key),
            scope_removals::scope.eq(scope.name()),
            scope_removals::removed_by.eq(by),
            scope_removals::removed_at.eq(now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Removals since `since` that were not undone, latest first.
pub fn removals(conn: &mut Conn, org: OrgId, since: Time, limit: i64) -> Result<Vec<Removal>> {
    use scope_removals as r;
    Ok(r::table
        .filter(r::org_id.eq(org).and(r::removed_at.gt(since)).and(r::undone_at.is_null()))
        .order((r::removed_at.desc(), r::key_id.asc(), r::scope.asc()))
        .select((r::key_id, r::scope, r::removed_by, r::removed_at))
        .limit(limit)
        .load(conn)?)
}

/// Marks the removals of a scope since `since` as undone. Returns whether there were any.
pub fn undo_removal(
    tx: &mut Tx<'_>,
    org: OrgId,
    key: KeyId,
    scope: Scope,
    (since, now): (Time, Time),
) -> Result<bool> {
    use scope_removals as r;
    let undone = diesel::update(r::table)
        .filter(r::org_id.eq(org).and(r::key_id.eq(key)).and(r::scope.eq(scope.name())))
        .filter(r::removed_at.gt(since).and(r::undone_at.is_null()))
        .set(r::undone_at.eq(now))
        .execute(tx.conn)?;
    Ok(undone > 0)
}
