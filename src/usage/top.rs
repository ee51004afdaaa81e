//! Which keys, models, scopes and people use most.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::schema::{api_keys, usage_callers, usage_counts, usage_totals, usage_windows};
use crate::time::Time;
use crate::usage::batch::Sum;
use crate::usage::question::{Filter, Question};
use crate::usage::report::{Totals, grouped, of_keys, sum};
use crate::usage::windows;

/// What a table is sorted by, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Requests.
    #[default]
    Requests,
    /// Tokens in both directions.
    Tokens,
    /// The share of requests that did not succeed.
    Failed,
    /// Requests that were one too many.
    Limited,
}

/// A part of a table.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What it is sorted by.
    pub sort: Sort,
    /// Whether the order is turned round.
    pub reversed: bool,
    /// How many rows to leave out before.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
}

impl Sort {
    /// What rows are compared by: a share as millionths.
    fn value(self, totals: &Totals) -> i64 {
        match self {
            Sort::Requests => totals.requests,
            Sort::Tokens => totals.tokens(),
            Sort::Failed => totals.failed() * 1_000_000 / totals.requests.max(1),
            Sort::Limited => totals.limited,
        }
    }
}

impl Part {
    /// The rows of this part.
    pub fn of<G: Ord>(&self, mut rows: Vec<(G, Totals)>) -> Vec<(G, Totals)> {
        let (offset, limit) = (self.offset.max(0), self.limit.max(0));
        rows.sort_by(|left, right| left.0.cmp(&right.0));
        match self.reversed {
            false => rows.sort_by_key(|(_, totals)| Reverse(self.sort.value(totals))),
            true => rows.sort_by_key(|(_, totals)| self.sort.value(totals)),
        }
        let skipped = rows.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        skipped.take(usize::try_from(limit).unwrap_or(0)).collect()
    }
}

/// A row of counts of something.
type Row<G> = (G, String, i64, i64, i64);

fn added<G: Eq + Hash>(rows: Vec<Row<G>>) -> Vec<(G, Totals)> {
    let mut totals: HashMap<G, Totals> = HashMap::new();
    for (group, outcome, requests, input_tokens, output_tokens) in rows {
        totals.entry(group).or_default().count(&outcome, Sum { requests, input_tokens, output_tokens });
    }
    totals.into_iter().collect()
}

macro_rules! counted {
    ($table:ident, $org:expr, $question:expr, $column:expr) => {
        grouped!(
            $table,
            $org,
            $question,
            ($column, $table::outcome),
            ($column, $table::outcome, sum("requests"), sum("input_tokens"), sum("output_tokens"))
        )
    };
}

/// The window that holds just what is asked, if there is one.
fn window(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Option<i64>> {
    let Filter { key, owner: _, scope, model } = &question.filter;
    if key.is_some() || scope.is_some() || model.is_some() {
        return Ok(None);
    }
    let range = question.range;
    for days in windows::DAYS {
        if range.width == windows::width(days)
            && range.first() == windows::start(days, range.to)
            && windows::is_exact(conn, org, days, range.to)?
        {
            return Ok(Some(days));
        }
    }
    Ok(None)
}

/// The keys that were used, and how many there are.
pub fn keys(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    part: Part,
) -> Result<(Vec<(KeyId, Totals)>, i64)> {
    let Some(days) = window(conn, org, question)? else {
        let query = counted!(usage_counts, org, question, usage_counts::key_id);
        let all = added::<KeyId>(of_keys!(usage_counts, query, org, question.filter).load(conn)?);
        let number = i64::try_from(all.len()).unwrap_or(i64::MAX);
        return Ok((part.of(all), number));
    };
    use usage_windows as w;
    macro_rules! of_window {
        ($select:expr) => {{
            let query = w::table.filter(w::org_id.eq(org).and(w::days.eq(days))).select($select).into_boxed();
            of_keys!(w, query, org, question.filter)
        }};
    }
    let number = of_window!(diesel::dsl::count_star()).first(conn)?;
    let query = of_window!((
        w::key_id,
        (
            w::requests,
            w::ok,
            w::client_errors,
            w::limited,
            w::server_errors,
            w::input_tokens,
            w::output_tokens
        )
    ));
    macro_rules! sorted {
        ($value:expr) => {
            match part.reversed {
                false => query.order(($value.desc(), w::key_id.asc())),
                true => query.order(($value.asc(), w::key_id.asc())),
            }
        };
    }
    let query = match part.sort {
        Sort::Requests => sorted!(w::requests),
        Sort::Tokens => sorted!((w::input_tokens + w::output_tokens)),
        Sort::Failed => sorted!(((w::requests - w::ok) * 1_000_000_i64 / w::requests)),
        Sort::Limited => sorted!(w::limited),
    };
    let rows = query.limit(part.limit).offset(part.offset).load(conn)?;
    Ok((rows, number))
}

/// The people whose keys were used.
pub fn people(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(UserId, Totals)>> {
    if let Some(days) = window(conn, org, question)? {
        use usage_windows as w;
        let query = w::table
            .inner_join(api_keys::table.on(api_keys::id.eq(w::key_id)))
            .filter(w::org_id.eq(org).and(w::days.eq(days)))
            .group_by(api_keys::owner_id)
            .select((
                api_keys::owner_id,
                (
                    sum("requests"),
                    sum("ok"),
                    sum("client_errors"),
                    sum("limited"),
                    sum("server_errors"),
                    sum("input_tokens"),
                    sum("output_tokens"),
                ),
            ))
            .into_boxed();
        return Ok(match question.filter.owner {
            Some(owner) => query.filter(api_keys::owner_id.eq(owner)).load(conn)?,
            None => query.load(conn)?,
        });
    }
    let query = counted!(usage_counts, org, question, usage_counts::key_id);
    let by_key = added::<KeyId>(of_keys!(usage_counts, query, org, question.filter).load(conn)?);
    let ids: Vec<KeyId> = by_key.iter().map(|(key, _)| *key).collect();
    let owners = owners(conn, org, &ids)?;
    let mut people: HashMap<UserId, Totals> = HashMap::new();
    for (key, totals) in by_key {
        if let Some(owner) = owners.get(&key) {
            people.entry(*owner).or_default().add(&totals);
        }
    }
    Ok(people.into_iter().collect())
}

fn owners(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashMap<KeyId, UserId>> {
    let mut owners = HashMap::new();
    for keys in keys.chunks(500) {
        let found: Vec<(KeyId, UserId)> = api_keys::table
            .filter(api_keys::org_id.eq(org).and(api_keys::id.eq_any(keys)))
            .select((api_keys::id, api_keys::owner_id))
            .load(conn)?;
        owners.extend(found);
    }
    Ok(owners)
}

/// The models that were asked for; empty for calls that name none.
pub fn models(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(String, Totals)>> {
    Ok(added(if question.filter.is_of_all_keys() {
        counted!(usage_totals, org, question, usage_totals::model).load(conn)?
    } else {
        let query = counted!(usage_counts, org, question, usage_counts::model);
        of_keys!(usage_counts, query, org, question.filter).load(conn)?
    }))
}

/// The scopes that calls needed; empty for calls that needed none.
pub fn scopes(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(String, Totals)>> {
    Ok(added(if question.filter.is_of_all_keys() {
        counted!(usage_totals, org, question, usage_totals::scope).load(conn)?
    } else {
        let query = counted!(usage_counts, org, question, usage_counts::scope);
        of_keys!(usage_counts, query, org, question.filter).load(conn)?
    }))
}

/// The secrets of keys that were used.
pub fn secrets(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(SecretId, Totals)>> {
    let query = counted!(usage_counts, org, question, usage_counts::secret_id);
    Ok(added(of_keys!(usage_counts, query, org, question.filter).load(conn)?))
}

/// Addresses that a key was called from in a range of whole hours, with requests and the latest,
/// most first.
pub fn addresses(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    (from, to): (Time, Time),
) -> Result<Vec<(String, i64, Time)>> {
    let mut rows: Vec<(String, i64, Time)> = usage_callers::table
        .filter(usage_callers::org_id.eq(org).and(usage_callers::key_id.eq(key)))
        .filter(usage_callers::hour.ge(from.hour()).and(usage_callers::hour.lt(to)))
        .group_by(usage_callers::address)
        .select((
            usage_callers::address,
            sum("requests"),
            diesel::dsl::sql::<diesel::sql_types::BigInt>("CAST(COALESCE(MAX(last_at), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    rows.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    Ok(rows)
}
