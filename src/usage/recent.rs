//! What keys were used for lately, for the pages and mails about keys.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{all_usage_callers, all_usage_counts};
use crate::time::{DAY, HOUR, Time};
use crate::usage::top::added;
use crate::usage::totals::{Totals, sum};

/// Requests of a key within the last 24 hours, by the scope that each needed, most first.
/// Counted in whole hours, so the oldest may lie up to an hour before.
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

/// Requests of all keys of an organisation since an instant, by the scope that each needed; those
/// of the instant's hour count.
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

/// Requests of each key on each of the `days` days from `start`, oldest first; counted by hours
/// where days begin at other hours than those of UTC.
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

/// What each of these keys was used for since the start of a day. A key that was not used is missing.
pub fn totals_by_key(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    since: Time,
) -> Result<HashMap<KeyId, Totals>> {
    let rows: Vec<(KeyId, String, i64, i64, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq_any(keys)))
        .filter(all_usage_counts::width.eq(DAY).and(all_usage_counts::start.ge(since)))
        .group_by((all_usage_counts::key_id, all_usage_counts::outcome))
        .select((
            all_usage_counts::key_id,
            all_usage_counts::outcome,
            sum("requests"),
            sum("input_tokens"),
            sum("output_tokens"),
        ))
        .load(conn)?;
    Ok(added(rows).into_iter().collect())
}

/// Requests of each key since an instant; those of the instant's hour count.
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

/// Requests with a key since an instant; those of the instant's hour count.
pub fn requests_since(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<i64> {
    Ok(all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq(key)))
        .filter(all_usage_counts::width.eq(HOUR).and(all_usage_counts::start.ge(since.hour())))
        .select(sum("requests"))
        .first(conn)?)
}

/// What a key was used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyUse {
    /// Requests with it.
    pub calls: i64,
    /// The scopes that these needed.
    pub scopes: Vec<String>,
    /// From where, most requests first.
    by_address: Vec<(String, i64)>,
}

impl KeyUse {
    /// From how many addresses.
    pub fn addresses(&self) -> i64 {
        i64::try_from(self.by_address.len()).unwrap_or(i64::MAX)
    }

    /// Up to `most` addresses, most requests first.
    pub fn callers(&self, most: usize) -> Vec<String> {
        self.by_address.iter().take(most).map(|(address, _)| address.clone()).collect()
    }
}

/// What each of these keys was used for since an instant; requests of the instant's hour count.
/// A key that was not used is missing.
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
