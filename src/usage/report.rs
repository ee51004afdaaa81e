//! Counts by bucket and group.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::schema::{
    all_usage_counts, all_usage_latencies, all_usage_total_latencies, all_usage_totals, api_keys,
};
use crate::time::Time;
use crate::usage::latency::Histogram;
use crate::usage::question::{Filter, Group, Question};
use crate::usage::totals::{Sum, Totals, sum, sums};

/// Totals by the start of the bucket and by group.
pub type Lines = BTreeMap<(Time, Option<String>), Totals>;

/// The most rows of a report; a longer one is refused.
const MAX_ROWS: i64 = 200_000;
/// The most counts that a report adds up; a longer one is refused before it begins.
const MAX_ADDED: i64 = 1_000_000;
/// The most keys of a person that a query lists.
const FEW: i64 = 500;

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

/// Narrows a query on a table with keys to those of the filter.
macro_rules! of_keys {
    ($table:ident, $query:expr, $org:expr, $filter:expr) => {{
        let mut query = $query;
        if let Some(key) = $filter.key {
            query = query.filter($table::key_id.eq(key));
        }
        if let Some(owned) = &$filter.owned {
            query = query.filter($table::key_id.eq_any(owned));
        } else if let Some(owner) = $filter.owner {
            use $crate::schema::api_keys as k;
            let owned = k::table.filter(k::org_id.eq($org).and(k::owner_id.eq(owner))).select(k::id);
            query = query.filter($table::key_id.eq_any(owned));
        }
        query
    }};
}
pub(super) use of_keys;

/// Adds the owner's keys to a filter, if they are few, so that the database reads the counts of each key.
pub fn looked_up(conn: &mut Conn, org: OrgId, filter: Filter) -> Result<Filter> {
    let Some(owner) = filter.owner else { return Ok(filter) };
    let owned: Vec<KeyId> = api_keys::table
        .filter(api_keys::org_id.eq(org).and(api_keys::owner_id.eq(owner)))
        .select(api_keys::id)
        .limit(FEW + 1)
        .load(conn)?;
    let few = i64::try_from(owned.len()).is_ok_and(|owned| owned <= FEW);
    Ok(Filter { owned: few.then_some(owned), ..filter })
}

/// The totals of an organisation by bucket and group.
///
/// Error: invalid `from` if that is too much for one report.
pub fn report(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Lines> {
    type Row<G> = (Time, G, String, Sum);
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
                ($table::start, $column, $table::outcome, sums())
            );
            let rows: Vec<Row<$kind>> = $narrow!($table, query).limit(MAX_ROWS + 1).load(conn)?;
            rows.into_iter()
                .map(|(start, group, outcome, sum)| (start, $name(group), outcome, sum))
                .collect::<Vec<_>>()
        }};
    }
    macro_rules! by {
        ($column:ident, $kind:ty, $name:expr) => {
            if question.filter.is_of_all_keys() {
                rows!(all_usage_totals, all_usage_totals::$column, $kind, $name, all)
            } else {
                rows!(all_usage_counts, all_usage_counts::$column, $kind, $name, some)
            }
        };
    }
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    let rows = match question.group {
        // Grouped by a column that has the same value everywhere.
        Group::All => by!(width, i64, |_| None),
        Group::Model => by!(model, String, named),
        Group::Scope => by!(scope, String, named),
        Group::Key => {
            rows!(all_usage_counts, all_usage_counts::key_id, KeyId, |key: KeyId| Some(key.to_string()), some)
        }
    };
    if rows.len() > usize::try_from(MAX_ROWS).unwrap_or(usize::MAX) {
        return Err(too_much());
    }
    let mut lines = Lines::new();
    for (start, group, outcome, sum) in rows {
        lines.entry((start, group)).or_default().count(&outcome, sum);
    }
    Ok(lines)
}

/// Refuses a question that would take long. Error: invalid `from`.
pub fn refuse_long(conn: &mut Conn, org: OrgId, question: &Question) -> Result<()> {
    // The journal is small.
    use crate::schema::usage_counts as counts;
    let (filter, range) = (&question.filter, question.range);
    if question.group != Group::Key && filter.is_of_all_keys() {
        return Ok(());
    }
    // Reads the index only.
    let query = counts::table
        .filter(counts::org_id.eq(org).and(counts::width.eq(range.width)))
        .filter(counts::start.ge(range.first()).and(counts::start.lt(range.to)))
        .select(counts::start)
        .into_boxed();
    let query = of_keys!(counts, query, org, filter).offset(MAX_ADDED).limit(1);
    match query.first::<Time>(conn).optional()? {
        Some(_) => Err(too_much()),
        None => Ok(()),
    }
}

fn too_much() -> Error {
    Error::invalid("from", "That is too much for one answer. Ask for less time, or for days.")
}

/// The latencies of answers.
pub fn latencies(conn: &mut Conn, org: OrgId, question: &Question) -> Result<Histogram> {
    let rows: Vec<(i16, i64)> = if question.filter.is_of_all_keys() {
        use all_usage_total_latencies as table;
        grouped!(table, org, question, table::bucket, (table::bucket, sum("requests"))).load(conn)?
    } else {
        use all_usage_latencies as table;
        let query = grouped!(table, org, question, table::bucket, (table::bucket, sum("requests")));
        of_keys!(all_usage_latencies, query, org, question.filter).load(conn)?
    };
    let mut histogram = Histogram::default();
    for (bucket, requests) in rows {
        histogram.add(bucket, requests);
    }
    Ok(histogram)
}
