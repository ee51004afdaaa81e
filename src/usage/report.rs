//! What was counted, read.

use std::collections::{BTreeMap, HashMap};

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Serialize;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::schema::{
    api_keys, usage_callers, usage_counts, usage_latencies, usage_total_latencies, usage_totals,
};
use crate::time::{DAY, HOUR, Time};
use crate::usage::batch::Sum;
use crate::usage::latency::Histogram;
use crate::usage::question::{Group, Question};

/// Requests by how they ended, and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Queryable, Serialize, utoipa::ToSchema)]
pub struct Totals {
    /// All requests.
    pub requests: i64,
    /// Answered.
    pub ok: i64,
    /// Refused or wrong, but not for their number.
    pub client_errors: i64,
    /// Too many.
    pub limited: i64,
    /// Failed here or upstream.
    pub server_errors: i64,
    /// Tokens sent to models.
    pub input_tokens: i64,
    /// Tokens that models answered.
    pub output_tokens: i64,
}

/// The start of a bucket and the group, with what was counted.
pub type Lines = BTreeMap<(Time, Option<String>), Totals>;

/// How many rows a report may read; a longer one is refused.
const MAX_ROWS: i64 = 200_000;

/// The counts of a table that pass the filter, grouped, as a boxed query.
macro_rules! grouped {
    ($table:ident, $org:expr, $question:expr, $group:expr, $select:expr) => {{
        let (filter, range) = (&$question.filter, $question.range);
        let mut query = $table::table
            .filter($table::org_id.eq($org).and($table::width.eq(range.width)))
            .filter($table::start.ge(range.first()).and($table::start.lt(range.to)))
            .group_by($group)
            .select($select)
            .into_boxed();
        if let Some(scope) = filter.scope {
            query = query.filter($table::scope.eq(scope.name()));
        }
        if let Some(model) = &filter.model {
            query = query.filter($table::model.eq(model));
        }
        query
    }};
}
pub(super) use grouped;

/// The same of a table that tells keys apart, for those of the filter alone.
macro_rules! of_keys {
    ($table:ident, $query:expr, $org:expr, $filter:expr) => {{
        let mut query = $query;
        if let Some(key) = $filter.key {
            query = query.filter($table::key_id.eq(key));
        }
        if let Some(owner) = $filter.owner {
            let owned = api_keys::org_id.eq($org).and(api_keys::owner_id.eq(owner));
            query = query.filter($table::key_id.eq_any(api_keys::table.filter(owned).select(api_keys::id)));
        }
        query
    }};
}
pub(super) use of_keys;

/// What an organisation's keys were used for, by bucket and group.
///
/// Errors: invalid `from` when that is too much for one report.
pub fn report(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Lines> {
    type Row<G> = (Time, G, String, i64, i64, i64);
    macro_rules! all {
        ($table:ident, $query:expr) => {
            $query
        };
    }
    macro_rules! some {
        ($table:ident, $query:expr) => {
            of_keys!($table, $query, org, question.filter)
        };
    }
    macro_rules! rows {
        ($table:ident, $column:expr, $kind:ty, $name:expr, $narrow:ident) => {{
            let query = grouped!(
                $table,
                org,
                question,
                ($table::start, $column, $table::outcome),
                (
                    $table::start,
                    $column,
                    $table::outcome,
                    sum("requests"),
                    sum("input_tokens"),
                    sum("output_tokens"),
                )
            );
            let rows: Vec<Row<$kind>> = $narrow!($table, query).limit(MAX_ROWS + 1).load(conn)?;
            rows.into_iter()
                .map(|(start, group, outcome, requests, input_tokens, output_tokens)| {
                    (start, $name(group), outcome, Sum { requests, input_tokens, output_tokens })
                })
                .collect::<Vec<_>>()
        }};
    }
    macro_rules! by {
        ($column:ident, $kind:ty, $name:expr) => {
            if question.filter.is_of_all_keys() {
                rows!(usage_totals, usage_totals::$column, $kind, $name, all)
            } else {
                rows!(usage_counts, usage_counts::$column, $kind, $name, some)
            }
        };
    }
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    let rows = match question.group {
        // Grouped once more by what is the same everywhere.
        Group::All => by!(width, i64, |_| None),
        Group::Model => by!(model, String, named),
        Group::Scope => by!(scope, String, named),
        Group::Key => {
            rows!(usage_counts, usage_counts::key_id, KeyId, |key: KeyId| Some(key.to_string()), some)
        }
    };
    if rows.len() > usize::try_from(MAX_ROWS).unwrap_or(usize::MAX) {
        return Err(Error::invalid(
            "from",
            "That is too much for one answer. Ask for less time, or for days.",
        ));
    }
    let mut lines = Lines::new();
    for (start, group, outcome, sum) in rows {
        lines.entry((start, group)).or_default().count(&outcome, sum);
    }
    Ok(lines)
}

/// How many answers took how long.
pub fn latencies(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Histogram> {
    let rows: Vec<(i16, i64)> = if question.filter.is_of_all_keys() {
        use usage_total_latencies as table;
        grouped!(table, org, question, table::bucket, (table::bucket, sum("requests"))).load(conn)?
    } else {
        use usage_latencies as table;
        let query = grouped!(table, org, question, table::bucket, (table::bucket, sum("requests")));
        of_keys!(usage_latencies, query, org, question.filter).load(conn)?
    };
    let mut histogram = Histogram::default();
    for (bucket, requests) in rows {
        histogram.add(bucket, requests);
    }
    Ok(histogram)
}

impl Totals {
    /// Adds requests that ended in this way.
    pub fn count(&mut self, outcome: &str, sum: Sum) {
        let requests = sum.requests;
        self.requests += requests;
        self.input_tokens = self.input_tokens.saturating_add(sum.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(sum.output_tokens);
        let of_outcome = match outcome {
            "ok" => &mut self.ok,
            "client_errors" => &mut self.client_errors,
            "limited" => &mut self.limited,
            _ => &mut self.server_errors,
        };
        *of_outcome += requests;
    }

    /// Requests that did not succeed, for whatever reason.
    pub fn failed(&self) -> i64 {
        self.requests - self.ok
    }

    /// Tokens in both directions.
    pub fn tokens(&self) -> i64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds other totals.
    pub fn add(&mut self, other: &Totals) {
        self.requests += other.requests;
        self.ok += other.ok;
        self.client_errors += other.client_errors;
        self.limited += other.limited;
        self.server_errors += other.server_errors;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

/// The sum of a column as a whole number; PostgreSQL makes a decimal of it, which diesel can't
/// read on both databases.
pub(super) fn sum(column: &'static str) -> SqlLiteral<BigInt> {
    diesel::dsl::sql::<BigInt>(&format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)"))
}

/// Requests of a key within the last 24 hours, by the scope that each needed, most first.
/// Counted in whole hours, so the oldest may lie up to an hour before.
pub fn last_day_by_scope(conn: &mut Conn, org: OrgId, key: KeyId, now: Time) -> Result<Vec<(String, i64)>> {
    let mut rows: Vec<(String, i64)> = usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq(key)))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(now.plus(-DAY).hour())))
        .group_by(usage_counts::scope)
        .select((usage_counts::scope, sum("requests")))
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
    let rows: Vec<(KeyId, String, i64)> = usage_counts::table
        .filter(usage_counts::org_id.eq(org))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(since.hour())))
        .group_by((usage_counts::key_id, usage_counts::scope))
        .select((usage_counts::key_id, usage_counts::scope, sum("requests")))
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
    let mut callers: Vec<CallerUse> = usage_callers::table
        .filter(usage_callers::org_id.eq(org).and(usage_callers::key_id.eq(key)))
        .filter(usage_callers::hour.ge(now.plus(-DAY).hour()))
        .group_by((usage_callers::address, usage_callers::program))
        .select((
            usage_callers::address,
            usage_callers::program,
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
    let rows: Vec<(KeyId, Time, i64)> = usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq_any(keys)))
        .filter(usage_counts::width.eq(width).and(usage_counts::start.ge(start)))
        .group_by((usage_counts::key_id, usage_counts::start))
        .select((usage_counts::key_id, usage_counts::start, sum("requests")))
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

/// Requests of each key since an instant; those of the instant's hour count.
pub fn requests_by_key(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    since: Time,
) -> Result<HashMap<KeyId, i64>> {
    let mut requests = HashMap::new();
    for keys in keys.chunks(1_000) {
        let rows: Vec<(KeyId, i64)> = usage_counts::table
            .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq_any(keys)))
            .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(since.hour())))
            .group_by(usage_counts::key_id)
            .select((usage_counts::key_id, sum("requests")))
            .load(conn)?;
        requests.extend(rows);
    }
    Ok(requests)
}

/// Requests with a key since an instant; those of the instant's hour count.
pub fn requests_since(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<i64> {
    Ok(usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq(key)))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(since.hour())))
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
    let counts: Vec<(KeyId, String, i64)> = usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq_any(keys)))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(since.hour())))
        .group_by((usage_counts::key_id, usage_counts::scope))
        .select((usage_counts::key_id, usage_counts::scope, sum("requests")))
        .load(conn)?;
    let callers: Vec<(KeyId, String, i64)> = usage_callers::table
        .filter(usage_callers::org_id.eq(org).and(usage_callers::key_id.eq_any(keys)))
        .filter(usage_callers::hour.ge(since.hour()))
        .group_by((usage_callers::key_id, usage_callers::address))
        .select((usage_callers::key_id, usage_callers::address, sum("requests")))
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
