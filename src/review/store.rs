//! Rows of findings, of what was decided about them, and of the last look.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::review::rules::{Card, Finding};
use crate::schema::{review_cards, review_findings, review_keeps, review_looks, scope_removals};
use crate::scope::Scope;
use crate::time::Time;

/// What a finding is told apart by; the scope is empty where it is about none.
pub type Place = (KeyId, String, String);

/// The last look at an organisation's keys.
#[derive(Clone, Copy, Debug, Queryable)]
pub struct Look {
    /// When.
    pub looked_at: Time,
    /// From when the next one is due.
    pub next_at: Time,
    /// Keys that had not ended.
    pub live_keys: i64,
    /// Those among them with an open finding.
    pub open_keys: i64,
}

/// A finding that someone keeps.
#[derive(Clone, Debug, Queryable)]
pub struct Keep {
    /// Of which key.
    pub key: KeyId,
    /// Of which kind, by name.
    pub card: String,
    /// Of which scope, or empty.
    pub scope: String,
    /// Who keeps it.
    pub by: UserId,
    /// Since when.
    pub at: Time,
    /// Until when.
    pub until: Time,
}

/// A scope that was removed on advice.
#[derive(Clone, Debug, Queryable)]
pub struct Removal {
    /// From which key.
    pub key: KeyId,
    /// Which.
    pub scope: String,
    /// By whom.
    pub by: UserId,
    /// When.
    pub at: Time,
}

/// The name of a scope in rows.
pub fn scope_name(scope: Option<Scope>) -> &'static str {
    scope.map_or("", Scope::name)
}

/// How many findings are open, over all cards: what the navigation shows.
pub fn open(conn: &mut Conn, org: OrgId) -> Result<i64> {
    Ok(cards(conn, org)?.values().sum())
}

/// How many findings are open, by the names of their cards.
pub fn cards(conn: &mut Conn, org: OrgId) -> Result<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = review_cards::table
        .filter(review_cards::org_id.eq(org))
        .select((review_cards::card, review_cards::found))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The last look, if there was one.
pub fn last_look(conn: &mut Conn, org: OrgId) -> Result<Option<Look>> {
    Ok(review_looks::table
        .filter(review_looks::org_id.eq(org).and(review_looks::looked_at.gt(Time::from_seconds(0))))
        .select((
            review_looks::looked_at,
            review_looks::next_at,
            review_looks::live_keys,
            review_looks::open_keys,
        ))
        .first(conn)
        .optional()?)
}

/// Open findings of a card with their scope, oldest first.
pub fn of_card(
    conn: &mut Conn,
    org: OrgId,
    card: Card,
    (offset, limit): (i64, i64),
) -> Result<Vec<(KeyId, String, Time)>> {
    use review_findings as f;
    Ok(f::table
        .filter(f::org_id.eq(org).and(f::card.eq(card.name())))
        .order((f::since.asc(), f::key_id.asc(), f::scope.asc()))
        .select((f::key_id, f::scope, f::since))
        .offset(offset)
        .limit(limit)
        .load(conn)?)
}

/// Open findings of a card behind one of them, in the order of keys, for exports.
pub fn of_card_after(
    conn: &mut Conn,
    org: OrgId,
    card: Card,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<(KeyId, String, Time)>> {
    use review_findings as f;
    let mut query = f::table
        .filter(f::org_id.eq(org).and(f::card.eq(card.name())))
        .order((f::key_id.asc(), f::scope.asc()))
        .select((f::key_id, f::scope, f::since))
        .limit(limit)
        .into_boxed();
    if let Some(after) = after {
        query = query.filter(f::key_id.gt(after));
    }
    Ok(query.load(conn)?)
}

/// What is kept now, latest first.
pub fn keeps(conn: &mut Conn, org: OrgId, now: Time, limit: i64) -> Result<Vec<Keep>> {
    use review_keeps as k;
    Ok(k::table
        .filter(k::org_id.eq(org).and(k::until.gt(now)))
        .order((k::until.desc(), k::key_id.asc(), k::card.asc(), k::scope.asc()))
        .select((k::key_id, k::card, k::scope, k::kept_by, k::kept_at, k::until))
        .limit(limit)
        .load(conn)?)
}

/// What of these keys is kept now, and since when.
pub fn kept(conn: &mut Conn, org: OrgId, keys: &[KeyId], now: Time) -> Result<HashMap<Place, Time>> {
    use review_keeps as k;
    let rows: Vec<(Place, Time)> = k::table
        .filter(k::org_id.eq(org).and(k::key_id.eq_any(keys)).and(k::until.gt(now)))
        .select(((k::key_id, k::card, k::scope), k::kept_at))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Keeps a finding until then.
pub fn insert_keep(
    tx: &mut Tx<'_>,
    org: OrgId,
    (key, card, scope): (KeyId, Card, Option<Scope>),
    by: UserId,
    (now, until): (Time, Time),
) -> Result<()> {
    use review_keeps as k;
    each!(tx.conn, |c| {
        diesel::insert_into(k::table)
            .values((
                k::org_id.eq(org),
                k::key_id.eq(key),
                k::card.eq(card.name()),
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

/// Keeps a finding no longer. Whether it was kept.
pub fn delete_keep(
    tx: &mut Tx<'_>,
    org: OrgId,
    key: KeyId,
    card: Card,
    scope: Option<Scope>,
    now: Time,
) -> Result<bool> {
    use review_keeps as k;
    let gone = diesel::delete(k::table)
        .filter(k::org_id.eq(org).and(k::key_id.eq(key)).and(k::card.eq(card.name())))
        .filter(k::scope.eq(scope_name(scope)).and(k::until.gt(now)))
        .execute(tx.conn)?;
    Ok(gone > 0)
}

/// Findings of these keys as they are stored.
pub fn of_keys(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashMap<Place, Time>> {
    use review_findings as f;
    let rows: Vec<(KeyId, String, String, Time)> = f::table
        .filter(f::org_id.eq(org).and(f::key_id.eq_any(keys)))
        .select((f::key_id, f::card, f::scope, f::since))
        .load(conn)?;
    Ok(rows.into_iter().map(|(key, card, scope, since)| ((key, card, scope), since)).collect())
}

/// Writes what has changed of the findings of some keys.
pub fn replace(
    tx: &mut Tx<'_>,
    org: OrgId,
    before: &HashMap<Place, Time>,
    after: &HashMap<Place, Time>,
) -> Result<()> {
    use review_findings as f;
    for ((key, card, scope), since) in before {
        if after.get(&(*key, card.clone(), scope.clone())) != Some(since) {
            diesel::delete(f::table.find((org, card, *key, scope))).execute(tx.conn)?;
        }
    }
    let new = after.iter().filter(|(place, since)| before.get(*place) != Some(*since));
    for ((key, card, scope), since) in new {
        diesel::insert_into(f::table)
            .values((
                f::org_id.eq(org),
                f::card.eq(card),
                f::key_id.eq(*key),
                f::scope.eq(scope),
                f::since.eq(*since),
            ))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// A finding as it is stored.
pub fn place(key: KeyId, finding: &Finding) -> Place {
    (key, finding.card.name().to_owned(), scope_name(finding.scope).to_owned())
}

/// Notes that a scope was removed on advice.
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

/// Removals since then that were not undone, latest first.
pub fn removals(conn: &mut Conn, org: OrgId, since: Time, limit: i64) -> Result<Vec<Removal>> {
    use scope_removals as r;
    Ok(r::table
        .filter(r::org_id.eq(org).and(r::removed_at.gt(since)).and(r::undone_at.is_null()))
        .order((r::removed_at.desc(), r::key_id.asc(), r::scope.asc()))
        .select((r::key_id, r::scope, r::removed_by, r::removed_at))
        .limit(limit)
        .load(conn)?)
}

/// Marks the removals of a scope since then as undone. Whether there was one.
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
