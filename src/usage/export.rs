//! Exports counts part by part, so that a long export needs no more memory than a short one.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::all_usage_counts;
use crate::time::Time;
use crate::usage::question::Question;
use crate::usage::report::of_keys;
use crate::usage::totals::{Sum, Totals};

/// Rows read at once.
const STEP: i64 = 4_000;

/// A line of the export: bucket, key, scope and model.
pub type Place = (Time, KeyId, String, String);

/// The end of a part: the bucket and the key of its last line.
pub type Cursor = (Time, KeyId);

type Row = (Time, KeyId, String, String, String, Sum);

/// The lines behind `after`, oldest first, and the end of the part; `None` for the last part.
pub fn part(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    after: Option<Cursor>,
) -> Result<(BTreeMap<Place, Totals>, Option<Cursor>)> {
    let mut step = STEP;
    loop {
        let mut rows = Vec::new();
        if let Some((start, key)) = after {
            // Two statements, because no index serves "later, or as late with a later key".
            rows = read(conn, org, question, Reach::Within(start, key), step)?;
        }
        let left = step - i64::try_from(rows.len()).unwrap_or(step);
        if left > 0 {
            rows.extend(read(conn, org, question, Reach::Behind(after.map(|after| after.0)), left)?);
        }
        let is_last = i64::try_from(rows.len()).unwrap_or(step) < step;
        let end = rows.last().map(|row| (row.0, row.1));
        if !is_last {
            // The last key of this bucket may have more rows than were read.
            rows.retain(|row| Some((row.0, row.1)) != end);
        }
        if let (false, true) = (is_last, rows.is_empty()) {
            step *= 4;
            continue;
        }
        let next = rows.last().map(|row| (row.0, row.1)).filter(|_| !is_last);
        let mut lines: BTreeMap<Place, Totals> = BTreeMap::new();
        for (start, key, scope, model, outcome, sum) in rows {
            lines.entry((start, key, scope, model)).or_default().count(&outcome, sum);
        }
        return Ok((lines, next));
    }
}

/// The rows to read.
#[derive(Clone, Copy)]
enum Reach {
    /// The later keys of this bucket.
    Within(Time, KeyId),
    /// The buckets after this one; all, if `None`.
    Behind(Option<Time>),
}

fn read(conn: &mut Conn, org: OrgId, question: &Question, reach: Reach, limit: i64) -> Result<Vec<Row>> {
    use all_usage_counts as counts;
    let (filter, range) = (&question.filter, question.range);
    let mut query = counts::table
        .filter(counts::org_id.eq(org).and(counts::width.eq(range.width)))
        .select((
            counts::start,
            counts::key_id,
            counts::scope,
            counts::model,
            counts::outcome,
            (
                counts::requests,
                counts::input_tokens,
                counts::output_tokens,
                counts::cached_tokens,
                counts::cache_write_tokens,
                counts::reasoning_tokens,
            ),
        ))
        .order((counts::start.asc(), counts::key_id.asc()))
        .limit(limit)
        .into_boxed();
    query = match reach {
        Reach::Within(start, key) => query.filter(counts::start.eq(start).and(counts::key_id.gt(key))),
        Reach::Behind(Some(start)) => query.filter(counts::start.gt(start).and(counts::start.lt(range.to))),
        Reach::Behind(None) => query.filter(counts::start.ge(range.first()).and(counts::start.lt(range.to))),
    };
    if let Some(scope) = filter.scope {
        query = query.filter(counts::scope.eq(scope.name()));
    }
    if let Some(model) = &filter.model {
        query = query.filter(counts::model.eq(model));
    }
    Ok(of_keys!(counts, query, org, filter).load(conn)?)
}
