//! What was counted, read.

use std::collections::{BTreeMap, HashMap};

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use serde::Serialize;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::schema::{usage_callers, usage_counts};
use crate::time::{DAY, HOUR, Time};

/// How counts are told apart in a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Not at all.
    All,
    /// By key.
    Key,
    /// By the model that was asked for.
    Model,
    /// By the scope that the route needs.
    Scope,
}

/// What a report covers.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Buckets that reach beyond this instant count.
    pub from: Time,
    /// Buckets that begin before this instant count.
    pub to: Time,
    /// The width of a bucket: [`HOUR`] or [`DAY`].
    pub width: i64,
}

/// Requests by how they ended, and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
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

/// What an organisation's keys were used for.
///
/// Errors: invalid `from` when that is too much for one report.
pub fn report(conn: &mut Conn, org: OrgId, range: Range, group: Group) -> Result<Lines> {
    type Row<G> = (Time, G, String, i64, i64, i64);
    let first = range.from.floor(range.width);
    macro_rules! rows {
        ($column:expr, $kind:ty, $name:expr) => {{
            let rows: Vec<Row<$kind>> = usage_counts::table
                .filter(usage_counts::org_id.eq(org).and(usage_counts::width.eq(range.width)))
                .filter(usage_counts::start.ge(first).and(usage_counts::start.lt(range.to)))
                .group_by((usage_counts::start, $column, usage_counts::outcome))
                .select((
                    usage_counts::start,
                    $column,
                    usage_counts::outcome,
                    sum("requests"),
                    sum("input_tokens"),
                    sum("output_tokens"),
                ))
                .limit(MAX_ROWS + 1)
                .load(conn)?;
            rows.into_iter()
                .map(|(start, group, outcome, requests, input, output)| {
                    (start, $name(group), outcome, requests, input, output)
                })
                .collect::<Vec<_>>()
        }};
    }
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    let rows = match group {
        // Grouped once more by what is the same everywhere.
        Group::All => rows!(usage_counts::width, i64, |_| None),
        Group::Key => rows!(usage_counts::key_id, KeyId, |key: KeyId| Some(key.to_string())),
        Group::Model => rows!(usage_counts::model, String, named),
        Group::Scope => rows!(usage_counts::scope, String, named),
    };
    if rows.len() > usize::try_from(MAX_ROWS).unwrap_or(usize::MAX) {
        return Err(Error::invalid(
            "from",
            "That is too much for one answer. Ask for less time, or for days.",
        ));
    }
    let mut lines = Lines::new();
    for (start, group, outcome, requests, input, output) in rows {
        lines.entry((start, group)).or_default().count(&outcome, requests, input, output);
    }
    Ok(lines)
}

impl Totals {
    fn count(&mut self, outcome: &str, requests: i64, input_tokens: i64, output_tokens: i64) {
        self.requests += requests;
        self.input_tokens = self.input_tokens.saturating_add(input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(output_tokens);
        let of_outcome = match outcome {
            "ok" => &mut self.ok,
            "client_errors" => &mut self.client_errors,
            "limited" => &mut self.limited,
            _ => &mut self.server_errors,
        };
        *of_outcome += requests;
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
fn sum(column: &'static str) -> SqlLiteral<BigInt> {
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

/// Requests of each key on each of the `days` days from `start`, oldest first.
pub fn daily(
    conn: &mut Conn,
    org: OrgId,
    keys: &[KeyId],
    start: Time,
    days: usize,
) -> Result<HashMap<KeyId, Vec<i64>>> {
    let rows: Vec<(KeyId, Time, i64)> = usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq_any(keys)))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(start)))
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

/// Requests with a key since an instant; those of the instant's hour count.
pub fn requests_since(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<i64> {
    Ok(usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::key_id.eq(key)))
        .filter(usage_counts::width.eq(HOUR).and(usage_counts::start.ge(since.hour())))
        .select(sum("requests"))
        .first(conn)?)
}
