//! Recent usage of keys, for pages and e-mails about them.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{all_usage_callers, all_usage_counts};
use crate::time::{DAY, HOUR, Time};
use crate::usage::top::added;
use crate::usage::totals::{Sum, Totals, sum, sums};

/// Requests of a key in the last 24 hours by required scope, most first. Whole hours count, so the oldest may be up to an
/// hour older.
pub fn last_day_by_scope(conn: &mut Conn, org: OrgId, key: KeyId, now: Time) -> Result<Vec<(String, i64)>> {
    let mut rows: Vec<(String, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq(key)))
        .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(now.plus(-DAY).hour())))
        .group_by(all_usage_counts::scope)
        .select((all_usage_counts::scope, sum("requests")))
        .load(conn)?;
    rows.sort_by_key(|(_, requests)| -requests);
    Ok(rows)
}

/// Requests of all keys of an organisation by required scope, from the hour of `since` on.
pub fn by_key_and_scope(
    conn: &mut Conn,
    org: OrgId,
    since: Time,
) -> Result<HashMap<KeyId, Vec<(String, i64)>>> {
    let rows: Vec<(KeyId, String, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org))
        .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(since.hour())))
        .group_by((all_usage_counts::key_id, all_usage_counts::scope))
        .select((all_usage_counts::key_id, all_usage_counts::scope, sum("requests")))
        .load(conn)?;
    let mut by_key: HashMap<KeyId, Vec<(String, i64)>> = HashMap::new();
    for (key, scope, requests) in rows {
        by_key.entry(key).or_default().push((scope, requests));
    }
    Ok(by_key)
}

/// A client of a key and its requests.
#[derive(Clone, Debug, Queryable)]
pub struct CallerUse {
    /// The address, or `other`.
    pub address: String,
    /// The first product of the User-Agent, or `other`.
    pub program: String,
    pub requests: i64,
    /// The time of the latest.
    pub last_at: Time,
}

/// The clients of a key in the last 24 hours, at most `most`, with most requests first.
pub fn callers_of_last_day(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    now: Time,
    most: usize,
) -> Result<Vec<CallerUse>> {
    let mut callers: Vec<CallerUse> = all_usage_callers::table
        .filter(all_usage_callers::org_id.eq(org).and(all_usage_callers::key_id.eq(key)))
        .filter(all_usage_callers::hour.ge(now.plus(-DAY).hour()))
        .group_by((all_usage_callers::address, all_usage_callers::program))
        .select((
            all_usage_callers::address,
            all_usage_callers::program,
            sum("requests"),
            diesel::dsl::sql::<BigInt>("CAST(COALESCE(MAX(last_at), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    callers.sort_by_key(|caller| -caller.requests);
    callers.truncate(most);
    Ok(callers)
}

/// Requests of each key on each of the `days` days from `start`, oldest first. Days that do not begin at midnight UTC are
/// counted by hours.
pub fn daily(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    start: Time,
    days: usize,
) -> Result<HashMap<KeyId, Vec<i64>>> {
    let width = if start == start.floor(DAY) { DAY } else { HOUR };
    let rows: Vec<(KeyId, Time, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq_any(keys)))
        .filter(all_usage_counts::width.eq(width).and(all_usage_counts::start.ge(start)))
        .group_by((all_usage_counts::key_id, all_usage_counts::start))
        .select((all_usage_counts::key_id, all_usage_counts::start, sum("requests")))
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

/// The totals of each of these keys since the start of a day. Unused keys are missing.
pub fn totals_by_key(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    since: Time,
) -> Result<HashMap<KeyId, Totals>> {
    let rows: Vec<(KeyId, String, Sum)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq_any(keys)))
        .filter(all_usage_counts::width.eq(DAY).and(all_usage_counts::start.ge(since)))
        .group_by((all_usage_counts::key_id, all_usage_counts::outcome))
        .select((all_usage_counts::key_id, all_usage_counts::outcome, sums()))
        .load(conn)?;
    Ok(added(rows).into_iter().collect())
}

/// Requests of each key, from the hour of `since` on.
pub fn requests_by_key(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    since: Time,
) -> Result<HashMap<KeyId, i64>> {
    let mut requests = HashMap::new();
    for keys in keys.chunks(1_000) {
        let rows: Vec<(KeyId, i64)> = all_usage_counts::table
            .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq_any(keys)))
            .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(since.hour())))
            .group_by(all_usage_counts::key_id)
            .select((all_usage_counts::key_id, sum("requests")))
            .load(conn)?;
        requests.extend(rows);
    }
    Ok(requests)
}

/// Requests of a key, from the hour of `since` on.
pub fn requests_since(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<i64> {
    Ok(all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq(key)))
        .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(since.hour())))
        .select(sum("requests"))
        .first(conn)?)
}

/// The usage of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    pub calls: i64,
    /// The required scopes.
    pub scopes: Vec<String>,
    /// Requests by address, most first.
    by_address: Vec<(String, i64)>,
}

impl KeyUse {
    /// The number of addresses.
    pub fn addresses(&self) -> i64 {
        i64::try_from(self.by_address.len()).unwrap_or(i64::MAX)
    }

    /// Up to `most` addresses, most requests first.
    pub fn callers(&self, most: usize) -> Vec<String> {
        self.by_address.iter().take(most).map(|(address, _)| address.clone()).collect()
    }
}

/// The usage of each of these keys, from the hour of `since` on. Unused keys are missing.
pub fn use_of_keys(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    since: Time,
) -> Result<HashMap<KeyId, KeyUse>> {
    let counts: Vec<(KeyId, String, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq_any(keys)))
        .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(since.hour())))
        .group_by((all_usage_counts::key_id, all_usage_counts::scope))
        .select((all_usage_counts::key_id, all_usage_counts::scope, sum("requests")))
        .load(conn)?;
    let callers: Vec<(KeyId, String, i64)> = all_usage_callers::table
        .filter(all_usage_callers::org_id.eq(org).and(all_usage_callers::key_id.eq_any(keys)))
        .filter(all_usage_callers::hour.ge(since.hour()))
        .group_by((all_usage_callers::key_id, all_usage_callers::address))
        .select((all_usage_callers::key_id, all_usage_callers::address, sum("requests")))
        .load(conn)?;
    let mut used: HashMap<KeyId, KeyUse> = HashMap::new();
    for (key, scope, requests) in counts {
        let key = used.entry(key).or_default();
        key.calls += requests;
        if !scope.is_empty() {
            key.scopes.push(scope);
        }
    }
    for (key, address, requests) in callers {
        used.entry(key).or_default().by_address.push((address, requests));
    }
    for used in used.values_mut() {
        used.scopes.sort();
        used.by_address.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    }
    Ok(used)
}
