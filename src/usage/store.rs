//! Rows of counts.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::upsert::excluded;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::schema::{api_keys, key_secrets, usage_callers, usage_hours};
use crate::time::{DAY, HOUR, Time};
use crate::usage::meter::Batch;

/// How long callers are kept, in days.
const CALLER_DAYS: i64 = 90;
/// How many rows go into one statement.
const CHUNK: usize = 500;

#[derive(Insertable)]
#[diesel(table_name = usage_hours, treat_none_as_default_value = false)]
struct HourRow {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    scope: &'static str,
    outcome: &'static str,
    hour: Time,
    requests: i64,
}

#[derive(Insertable)]
#[diesel(table_name = usage_callers, treat_none_as_default_value = false)]
struct CallerRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    hour: Time,
    address: &'a str,
    program: &'a str,
    requests: i64,
    last_at: Time,
}

/// Adds a batch to what was counted before.
pub fn add(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    // Always in the same order, so that two processes never wait for each other's rows.
    let mut cells: Vec<_> = batch.cells.iter().collect();
    cells.sort_unstable_by_key(|(cell, _)| *cell);
    let rows = cells.into_iter().map(|(cell, &requests)| HourRow {
        org_id: cell.org,
        key_id: cell.key,
        secret_id: cell.secret,
        scope: cell.scope,
        outcome: cell.outcome,
        hour: cell.hour,
        requests,
    });
    for rows in rows.collect::<Vec<_>>().chunks(CHUNK) {
        each!(tx.conn, |c| {
            diesel::insert_into(usage_hours::table)
                .values(rows)
                .on_conflict((
                    usage_hours::org_id,
                    usage_hours::key_id,
                    usage_hours::hour,
                    usage_hours::secret_id,
                    usage_hours::scope,
                    usage_hours::outcome,
                ))
                .do_update()
                .set(usage_hours::requests.eq(usage_hours::requests + excluded(usage_hours::requests)))
                .execute(c)
        })?;
    }
    add_callers(tx, batch)?;
    note_last_uses(tx, batch)
}

fn add_callers(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut callers: Vec<_> = batch.callers.iter().collect();
    callers.sort_unstable_by_key(|(caller, _)| *caller);
    let rows = callers.into_iter().map(|(caller, &(requests, last_at))| CallerRow {
        org_id: caller.org,
        key_id: caller.key,
        secret_id: caller.secret,
        hour: caller.hour,
        address: &caller.address,
        program: &caller.program,
        requests,
        last_at,
    });
    for rows in rows.collect::<Vec<_>>().chunks(CHUNK) {
        each!(tx.conn, |c| {
            diesel::insert_into(usage_callers::table)
                .values(rows)
                .on_conflict((
                    usage_callers::org_id,
                    usage_callers::key_id,
                    usage_callers::hour,
                    usage_callers::secret_id,
                    usage_callers::address,
                    usage_callers::program,
                ))
                .do_update()
                .set((
                    usage_callers::requests.eq(usage_callers::requests + excluded(usage_callers::requests)),
                    usage_callers::last_at.eq(excluded(usage_callers::last_at)),
                ))
                .execute(c)
        })?;
    }
    Ok(())
}

fn note_last_uses(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut uses: Vec<_> = batch.last_uses.iter().collect();
    uses.sort_unstable_by_key(|(_, last)| last.key);
    for (&secret, last) in uses {
        diesel::update(api_keys::table)
            .filter(api_keys::org_id.eq(last.org).and(api_keys::id.eq(last.key)))
            .set(api_keys::last_used_at.eq(last.at))
            .execute(tx.conn)?;
        let row = key_secrets::table.filter(key_secrets::org_id.eq(last.org).and(key_secrets::id.eq(secret)));
        diesel::update(row)
            .set((
                key_secrets::last_used_at.eq(last.at),
                key_secrets::last_address.eq(&last.address),
                key_secrets::last_program.eq(&last.program),
            ))
            .execute(tx.conn)?;
        diesel::update(row.filter(key_secrets::first_used_at.is_null()))
            .set(key_secrets::first_used_at.eq(last.at))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// Requests of a key within the last 24 hours, by the scope that each needed, most first.
/// Counted in whole hours, so the oldest may lie up to an hour before.
pub fn last_day_by_scope(conn: &mut Conn, org: OrgId, key: KeyId, now: Time) -> Result<Vec<(String, i64)>> {
    let mut rows: Vec<(String, i64)> = usage_hours::table
        .filter(usage_hours::org_id.eq(org).and(usage_hours::key_id.eq(key)))
        .filter(usage_hours::hour.ge(now.plus(-DAY).hour()))
        .group_by(usage_hours::scope)
        .select((
            usage_hours::scope,
            diesel::dsl::sql::<BigInt>("CAST(COALESCE(SUM(requests), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    rows.sort_by_key(|(_, requests)| -requests);
    Ok(rows)
}

/// A caller of a key with the number of its requests.
#[derive(Clone, Debug, Queryable)]
pub struct CallerUse {
    /// The address, or `other`.
    pub address: String,
    /// What the program calls itself.
    pub program: String,
    /// Its requests.
    pub requests: i64,
    /// The latest.
    pub last_at: Time,
}

/// Who called with a key within the last 24 hours, most requests first, at most `most`.
pub fn callers_of_last_day(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    now: Time,
    most: usize,
) -> Result<Vec<CallerUse>> {
    let mut callers: Vec<CallerUse> = usage_callers::table
        .filter(usage_callers::org_id.eq(org).and(usage_callers::key_id.eq(key)))
        .filter(usage_callers::hour.ge(now.plus(-DAY).hour()))
        .group_by((usage_callers::address, usage_callers::program))
        .select((
            usage_callers::address,
            usage_callers::program,
            diesel::dsl::sql::<BigInt>("CAST(COALESCE(SUM(requests), 0) AS BIGINT)"),
            diesel::dsl::sql::<BigInt>("CAST(COALESCE(MAX(last_at), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    callers.sort_by_key(|caller| -caller.requests);
    callers.truncate(most);
    Ok(callers)
}

/// Requests of each key on each of the `days` days from `start`, oldest first.
pub fn daily(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    start: Time,
    days: usize,
) -> Result<HashMap<KeyId, Vec<i64>>> {
    let rows: Vec<(KeyId, Time, i64)> = usage_hours::table
        .filter(usage_hours::org_id.eq(org).and(usage_hours::key_id.eq_any(keys)))
        .filter(usage_hours::hour.ge(start))
        .group_by((usage_hours::key_id, usage_hours::hour))
        .select((
            usage_hours::key_id,
            usage_hours::hour,
            diesel::dsl::sql::<BigInt>("CAST(COALESCE(SUM(requests), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    let mut daily: HashMap<KeyId, Vec<i64>> = keys.iter().map(|key| (*key, vec![0; days])).collect();
    for (key, hour, requests) in rows {
        let day = usize::try_from(hour.since(start) / DAY).unwrap_or(0).min(days - 1);
        if let Some(counts) = daily.get_mut(&key) {
            counts[day] += requests;
        }
    }
    Ok(daily)
}

/// Requests with a key since an instant; those of the instant's hour count.
pub fn requests_since(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<i64> {
    Ok(usage_hours::table
        .filter(usage_hours::org_id.eq(org).and(usage_hours::key_id.eq(key)))
        .filter(usage_hours::hour.ge(since.hour()))
        .select(diesel::dsl::sql::<BigInt>("CAST(COALESCE(SUM(requests), 0) AS BIGINT)"))
        .first(conn)?)
}

/// Forgets callers of long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(usage_callers::table.filter(usage_callers::hour.lt(now.plus(-CALLER_DAYS * 24 * HOUR))))
        .execute(tx.conn)?;
    Ok(())
}
