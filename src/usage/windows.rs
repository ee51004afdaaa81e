//! What each key was used for in the last 24 hours and the last 7, 30 and 90 days, kept as sums,
//! in all and by scope and model, so that the keys used most are found without adding up all of them.
//!
//! Counts are added as they are written. As time goes on, the oldest hour or day moves out of
//! the window: its counts are subtracted again, some hundred keys at a time. A window begins at
//! a whole hour or day of UTC and reaches until now.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{usage_counts, usage_window_starts};
use crate::time::{DAY, HOUR, Time};
use crate::usage::batch::{Batch, Sum};
use crate::usage::question::Range;
use crate::usage::totals::sum;
use crate::usage::window_rows::Sums;

/// The windows, in days.
pub const DAYS: [i64; 4] = [1, 7, 30, 90];
/// The counts of how many keys are moved out in one transaction: so few that whoever else writes
/// hardly waits.
const STEP: i64 = 250;

/// Where a window begins.
#[derive(Clone, Copy, Debug, Queryable)]
struct Begin {
    org: OrgId,
    days: i64,
    start: Time,
    after: Option<KeyId>,
}

/// The width of the buckets that a window is made of.
pub fn width(days: i64) -> i64 {
    if days == 1 { HOUR } else { DAY }
}

/// Where the window of so many days begins: its last bucket is the one of now.
pub fn start(days: i64, now: Time) -> Time {
    let width = width(days);
    now.floor(width).plus(width - days * DAY)
}

/// Adds a batch to the windows that it lies in.
pub fn add(tx: &mut Tx<'_>, batch: &Batch, now: Time) -> Result<()> {
    let mut begins: BTreeMap<(OrgId, i64), Begin> = BTreeMap::new();
    let mut sums = Sums::default();
    for (cell, sum) in &batch.counts {
        for days in DAYS {
            let begin = match begins.get(&(cell.org, days)) {
                Some(begin) => *begin,
                None => begin(tx, cell.org, days, now)?,
            };
            begins.insert((cell.org, days), begin);
            let start = cell.start.floor(width(days));
            let moved_out = start == begin.start && begin.after.is_some_and(|after| cell.key <= after);
            if start >= begin.start && !moved_out {
                sums.count((cell.org, days, cell.key), (cell.scope, &cell.model), cell.outcome, *sum);
            }
        }
    }
    sums.write(tx)
}

/// Where a window begins now; a new organisation's is there from its first count.
fn begin(tx: &mut Tx<'_>, org: OrgId, days: i64, now: Time) -> Result<Begin> {
    use usage_window_starts as starts;
    let found: Option<Begin> = starts::table.find((org, days)).first(tx.conn).optional()?;
    if let Some(begin) = found {
        return Ok(begin);
    }
    each!(tx.conn, |c| {
        diesel::insert_into(starts::table)
            .values((starts::org_id.eq(org), starts::days.eq(days), starts::start.eq(start(days, now))))
            .on_conflict((starts::org_id, starts::days))
            .do_nothing()
            .execute(c)
    })?;
    Ok(starts::table.find((org, days)).first(tx.conn)?)
}

/// Moves one step of what is too old out of one window. Whether there may be more to do.
pub fn slide(tx: &mut Tx<'_>, now: Time) -> Result<bool> {
    for days in DAYS {
        let target = start(days, now);
        if let Some(begin) = behind(tx, days, target)? {
            slide_one(tx, begin, target)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// A window that begins too early, locked until the transaction ends.
fn behind(tx: &mut Tx<'_>, days: i64, target: Time) -> Result<Option<Begin>> {
    let query = usage_window_starts::table
        .filter(usage_window_starts::days.eq(days).and(usage_window_starts::start.lt(target)));
    Ok(match tx.conn {
        // What another process moves is its own to move.
        Conn::Postgres(conn) => query.for_update().skip_locked().first(conn).optional()?,
        Conn::Sqlite(conn) => query.first(conn).optional()?,
    })
}

fn slide_one(tx: &mut Tx<'_>, begin: Begin, target: Time) -> Result<()> {
    use usage_window_starts as starts;
    let Begin { org, days, start, after } = begin;
    let bucket = usage_counts::table
        .filter(usage_counts::org_id.eq(org).and(usage_counts::width.eq(width(days))))
        .filter(usage_counts::start.eq(start));
    let mut keys = bucket
        .select(usage_counts::key_id)
        .distinct()
        .order(usage_counts::key_id.asc())
        .limit(STEP)
        .into_boxed();
    if let Some(after) = after {
        keys = keys.filter(usage_counts::key_id.gt(after));
    }
    let keys: Vec<KeyId> = keys.load(tx.conn)?;
    let mut sums = Sums::default();
    if let (Some(first), Some(last)) = (keys.first(), keys.last()) {
        let rows: Vec<(KeyId, String, String, String, i64, i64, i64)> = bucket
            .filter(usage_counts::key_id.between(first, last))
            .group_by((usage_counts::key_id, usage_counts::scope, usage_counts::model, usage_counts::outcome))
            .select((
                usage_counts::key_id,
                usage_counts::scope,
                usage_counts::model,
                usage_counts::outcome,
                sum("requests"),
                sum("input_tokens"),
                sum("output_tokens"),
            ))
            .load(tx.conn)?;
        for (key, scope, model, outcome, requests, input, output) in &rows {
            let moved = Sum { requests: -requests, input_tokens: -input, output_tokens: -output };
            sums.count((org, days, *key), (scope, model), outcome, moved);
        }
    }
    sums.take_out(tx, org, days)?;
    let is_last = i64::try_from(keys.len()).unwrap_or(STEP) < STEP;
    let (next, after) = match keys.last() {
        Some(last) if !is_last => (start, Some(*last)),
        _ => (next_start(tx, &begin, target)?, None),
    };
    diesel::update(starts::table.find((org, days)))
        .set((starts::start.eq(next), starts::after_key.eq(after)))
        .execute(tx.conn)?;
    Ok(())
}

/// The next bucket in which something was counted, at most the one where the window shall begin.
fn next_start(tx: &mut Tx<'_>, begin: &Begin, target: Time) -> Result<Time> {
    let next: Option<Time> = usage_counts::table
        .filter(usage_counts::org_id.eq(begin.org).and(usage_counts::width.eq(width(begin.days))))
        .filter(usage_counts::start.gt(begin.start).and(usage_counts::start.lt(target)))
        .order(usage_counts::start.asc())
        .select(usage_counts::start)
        .first(tx.conn)
        .optional()?;
    Ok(next.unwrap_or(target))
}

/// How far back the windows reach now.
#[derive(Clone, Debug)]
pub struct Windows(Vec<Begin>);

impl Windows {
    /// Reads it.
    pub fn of(conn: &mut Conn, org: OrgId) -> Result<Windows> {
        use usage_window_starts as starts;
        Ok(Windows(starts::table.filter(starts::org_id.eq(org)).order(starts::days.asc()).load(conn)?))
    }

    /// The window that holds just this range, which ends now. What was not called has no window,
    /// and any serves.
    pub fn just(&self, range: Range) -> Option<i64> {
        let holds = |days: &i64| {
            let begin = self.0.iter().find(|begin| begin.days == *days);
            range.width == width(*days)
                && range.first() == start(*days, range.to)
                && begin.is_none_or(|begin| begin.start == range.first() && begin.after.is_none())
        };
        DAYS.into_iter().find(holds)
    }

    /// The shortest window that holds all of this range and maybe more.
    pub fn around(&self, range: Range) -> Option<i64> {
        let first = range.first();
        let holds = |begin: &&Begin| begin.start < first || begin.start == first && begin.after.is_none();
        self.0.iter().find(holds).map(|begin| begin.days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_with_the_bucket_of_now() {
        let now = Time::parse("2026-11-23T14:22:00Z").expect("valid");
        assert_eq!(start(1, now).rfc3339(), "2026-11-22T15:00:00Z");
        assert_eq!(start(7, now).rfc3339(), "2026-11-17T00:00:00Z");
        assert_eq!(start(30, now).rfc3339(), "2026-10-25T00:00:00Z");
        assert_eq!(start(90, now).rfc3339(), "2026-08-26T00:00:00Z");
    }
}
