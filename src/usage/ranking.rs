//! Which keys were used most.
//!
//! Where the sums of recent use hold just what is asked, an index has the order. Where they hold
//! more than that, as for chosen days, they are walked down from the top: no key was called more
//! often on some days of a window than in all of it, so the walk ends when no later key can be
//! among the first. All counts are added up only where neither helps.

use std::sync::Arc;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::remembered::{LARGE, Remembered};
use crate::schema::{usage_counts, usage_part_windows, usage_windows};
use crate::time::Time;
use crate::usage::part::{Part, Sort};
use crate::usage::question::Question;
use crate::usage::report::{grouped, of_keys};
use crate::usage::top::{added, counted};
use crate::usage::totals::{Totals, sum};
use crate::usage::window_rows::{MODEL, SCOPE};
use crate::usage::windows::Windows;

/// How many keys a walk looks at in one statement.
const STEP: i64 = 50;
/// How many counts a walk adds up so as to know how many keys there are.
const SHORT_WALK: i64 = 2_000;
/// How many counts a walk may add up before it is given up.
const LONGEST_WALK: i64 = 60_000;

/// Some of the keys that were used.
pub struct Ranked {
    /// They, in order.
    pub rows: Vec<(KeyId, Totals)>,
    /// How many there are in all, if that is known.
    pub number: Option<i64>,
}

type Shared<G> = Arc<Vec<(G, Totals)>>;

/// What is remembered of large organisations.
pub struct Memory {
    numbers: Remembered<i64>,
    keys: Remembered<Shared<KeyId>>,
    people: Remembered<(usize, Shared<UserId>)>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory { numbers: Remembered::new(64), keys: Remembered::new(4), people: Remembered::new(16) }
    }
}

/// The columns of counts, as [`Totals`] reads them.
macro_rules! columns {
    ($table:ident) => {
        (
            $table::requests,
            $table::ok,
            $table::client_errors,
            $table::limited,
            $table::server_errors,
            $table::input_tokens,
            $table::output_tokens,
        )
    };
}

/// Runs a query on the sums of recent use: `usage_windows`, or, for one scope or one model,
/// `usage_part_windows`.
macro_rules! on_window {
    ($org:expr, $question:expr, $days:expr, |$table:ident, $query:ident| $body:expr) => {{
        let (filter, org, days) = (&$question.filter, $org, $days);
        let part = match (filter.scope, &filter.model) {
            (_, Some(model)) => Some((MODEL, model.as_str())),
            (Some(scope), None) => Some((SCOPE, scope.name())),
            (None, None) => None,
        };
        match part {
            None => {
                use usage_windows as $table;
                let $query = $table::table.filter($table::org_id.eq(org).and($table::days.eq(days)));
                $body
            }
            Some((part, name)) => {
                use usage_part_windows as $table;
                let $query = $table::table
                    .filter($table::org_id.eq(org).and($table::days.eq(days)))
                    .filter($table::part.eq(part).and($table::name.eq(name)));
                $body
            }
        }
    }};
}

mod people;
pub use people::people;

/// Some of the keys that were used.
pub fn keys(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    part: Part,
    memory: &Memory,
    now: Time,
) -> Result<Ranked> {
    let windows = Windows::of(conn, org)?;
    if let Some(days) = just(&windows, question) {
        return of_window(conn, org, question, days, part, memory);
    }
    if question.filter.owner.is_none()
        && let Some(days) = windows.around(question.range)
        && let Some(ranked) = walk(conn, org, question, days, part)?
    {
        return Ok(ranked);
    }
    let all = all(conn, org, question, memory, now)?;
    let number = i64::try_from(all.len()).ok();
    Ok(Ranked { rows: part.of(all.to_vec()), number })
}

/// How many keys were used, unless finding out would take long.
pub fn number(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    memory: &Memory,
    now: Time,
) -> Result<Option<i64>> {
    let windows = Windows::of(conn, org)?;
    if let Some(days) = just(&windows, question) {
        return number_of_window(conn, org, question, days, memory).map(Some);
    }
    if question.filter.owner.is_some() {
        return Ok(i64::try_from(all(conn, org, question, memory, now)?.len()).ok());
    }
    let one = Part { sort: Sort::Requests, reversed: false, offset: 0, limit: 1 };
    let Some(days) = windows.around(question.range) else { return Ok(None) };
    Ok(walk(conn, org, question, days, one)?.and_then(|ranked| ranked.number))
}

/// The window that holds just what is asked, if there is one.
fn just(windows: &Windows, question: &Question) -> Option<i64> {
    let filter = &question.filter;
    if filter.key.is_some() || filter.scope.is_some() && filter.model.is_some() {
        return None;
    }
    windows.just(question.range)
}

fn number_of_window(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    days: i64,
    memory: &Memory,
) -> Result<i64> {
    let asked = format!("{org} {days} {:?}", question.filter);
    let is_large = |number: &i64| usize::try_from(*number).is_ok_and(|number| number > LARGE);
    memory.numbers.or(asked, is_large, || {
        Ok(on_window!(org, question, days, |w, query| {
            let query = query.select(diesel::dsl::count_star()).into_boxed();
            of_keys!(w, query, org, question.filter).first(conn)
        })?)
    })
}

fn of_window(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    days: i64,
    part: Part,
    memory: &Memory,
) -> Result<Ranked> {
    let number = number_of_window(conn, org, question, days, memory)?;
    // Two statements: the index alone knows which keys, however many come before them.
    let ids: Vec<KeyId> = on_window!(org, question, days, |w, query| {
        let query = query.select(w::key_id).order(sql::<Text>(part.sort.order(part.reversed))).into_boxed();
        of_keys!(w, query, org, question.filter).limit(part.limit).offset(part.offset).load(conn)
    })?;
    let mut rows: Vec<(KeyId, Totals)> = on_window!(org, question, days, |w, query| {
        query.filter(w::key_id.eq_any(&ids)).select((w::key_id, columns!(w))).load(conn)
    })?;
    part.sort(&mut rows);
    Ok(Ranked { rows, number: Some(number) })
}

/// Walks down a window that holds more than what is asked. `None` if that would be too long.
fn walk(conn: &mut Conn, org: OrgId, question: &Question, days: i64, part: Part) -> Result<Option<Ranked>> {
    let buckets = i64::try_from(question.range.buckets().count()).unwrap_or(LONGEST_WALK);
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let mut after: Option<(i64, KeyId)> = None;
    loop {
        let next: Vec<(KeyId, i64)> = on_window!(org, question, days, |w, query| {
            macro_rules! by {
                ($value:ident) => {{
                    let mut query = query.select((w::key_id, w::$value)).limit(STEP).into_boxed();
                    if let Some((value, key)) = after {
                        query = query.filter(w::$value.le(value));
                        query = query.filter(w::$value.lt(value).or(w::key_id.gt(key)));
                    }
                    query.order((w::$value.desc(), w::key_id.asc())).load(conn)
                }};
            }
            match part.sort {
                Sort::Requests | Sort::Failed => by!(requests),
                Sort::Tokens => by!(tokens),
                Sort::Limited => by!(limited),
            }
        })?;
        let ids: Vec<KeyId> = next.iter().map(|(key, _)| *key).collect();
        let query = counted!(usage_counts, org, question, usage_counts::key_id);
        found.extend(added(query.filter(usage_counts::key_id.eq_any(&ids)).load(conn)?));
        let Some(&(last, bound)) = next.last().filter(|_| i64::try_from(next.len()) == Ok(STEP)) else {
            let number = i64::try_from(found.len()).ok();
            return Ok(Some(Ranked { rows: part.of(found), number }));
        };
        // A share of some days may be larger than that of all of them, and the least used may
        // be anywhere.
        let bounds = !part.reversed && part.sort != Sort::Failed;
        let wanted = usize::try_from(part.offset + part.limit).unwrap_or(usize::MAX);
        // Finding a key costs as much as some of its counts.
        looked_at += STEP * buckets.max(8);
        if bounds && found.len() >= wanted && looked_at > SHORT_WALK {
            part.sort(&mut found);
            if wanted.checked_sub(1).is_some_and(|last| part.sort.value(&found[last].1) > bound) {
                return Ok(Some(Ranked { rows: part.of(found), number: None }));
            }
        }
        if looked_at > if bounds { LONGEST_WALK } else { SHORT_WALK } {
            return Ok(None);
        }
        after = Some((bound, last));
    }
}

/// All keys that were used, by adding up all counts.
fn all(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    memory: &Memory,
    now: Time,
) -> Result<Shared<KeyId>> {
    memory.keys.or(
        name(org, question, now),
        |all| all.len() > LARGE,
        || {
            let query = counted!(usage_counts, org, question, usage_counts::key_id);
            Ok(Arc::new(added(of_keys!(usage_counts, query, org, question.filter).load(conn)?)))
        },
    )
}

/// What is asked, by which an answer is remembered.
fn name(org: OrgId, question: &Question, now: Time) -> String {
    let range = question.range;
    let to = if range.to == now { "now".to_owned() } else { range.to.rfc3339() };
    format!("{org} {} {to} {} {:?}", range.first().rfc3339(), range.width, question.filter)
}
