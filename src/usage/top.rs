//! Counts by model, scope, secret and address.

use std::collections::HashMap;
use std::hash::Hash;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::schema::{all_usage_callers, all_usage_counts, all_usage_totals};
use crate::time::Time;
use crate::usage::question::Question;
use crate::usage::report::{grouped, of_keys};
use crate::usage::totals::{Sum, Totals, sum, sums};

/// A row of counts of something.
type Row<G> = (G, String, Sum);

pub(super) fn added<G: Eq + Hash>(rows: Vec<Row<G>>) -> Vec<(G, Totals)> {
    let mut totals: HashMap<G, Totals> = HashMap::new();
    for (group, outcome, sum) in rows {
        totals.entry(group).or_default().count(&outcome, sum);
    }
    totals.into_iter().collect()
}

/// The counts of a table that pass the filter, by one column and by outcome, as a boxed query.
macro_rules! counted {
    ($table:ident, $org:expr, $question:expr, $column:expr) => {
        grouped!($table, $org, $question, ($column, $table::outcome), ($column, $table::outcome, sums()))
    };
}
pub(super) use counted;

/// Counts by requested model; empty for requests without one.
pub fn models(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(String, Totals)>> {
    Ok(added(if question.filter.is_of_all_keys() {
        counted!(all_usage_totals, org, question, all_usage_totals::model).load(conn)?
    } else {
        let query = counted!(all_usage_counts, org, question, all_usage_counts::model);
        of_keys!(all_usage_counts, query, org, question.filter).load(conn)?
    }))
}

/// Counts by required scope; empty for requests that need none.
pub fn scopes(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(String, Totals)>> {
    Ok(added(if question.filter.is_of_all_keys() {
        counted!(all_usage_totals, org, question, all_usage_totals::scope).load(conn)?
    } else {
        let query = counted!(all_usage_counts, org, question, all_usage_counts::scope);
        of_keys!(all_usage_counts, query, org, question.filter).load(conn)?
    }))
}

/// Counts by secret.
pub fn secrets(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Vec<(SecretId, Totals)>> {
    let query = counted!(all_usage_counts, org, question, all_usage_counts::secret_id);
    Ok(added(of_keys!(all_usage_counts, query, org, question.filter).load(conn)?))
}

/// The addresses that used a key in a range of whole hours, with their requests and the time of the latest, most first.
pub fn addresses(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    (from, to): (Time, Time),
) -> Result<Vec<(String, i64, Time)>> {
    let mut rows: Vec<(String, i64, Time)> = all_usage_callers::table
        .filter(all_usage_callers::org_id.eq(org).and(all_usage_callers::key_id.eq(key)))
        .filter(all_usage_callers::hour.ge(from.hour()).and(all_usage_callers::hour.lt(to)))
        .group_by(all_usage_callers::address)
        .select((
            all_usage_callers::address,
            sum("requests"),
            diesel::dsl::sql::<diesel::sql_types::BigInt>("CAST(COALESCE(MAX(last_at), 0) AS BIGINT)"),
        ))
        .load(conn)?;
    rows.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    Ok(rows)
}
