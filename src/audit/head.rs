//! The end of a log, as its row holds it: authenticated under a key that is derived from the root
//! secret, so that whoever can write to the database, but does not know the secret, can't change it
//! unnoticed.
//!
//! Once a log is found to be broken it stays so until an operator recovers it
//! ([`crate::audit::recovery`]). Entries are appended all the same, so that nobody can prevent
//! a revocation by damaging the log, but nothing is signed.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::tree;
use crate::crypto::sha256;
use crate::db::{Conn, LogGuard, Tx, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::{audit_entries, audit_heads, organizations};

mod row;

pub use self::row::Row;

/// Why a row can't be relied on.
pub const CHANGED: &str = "the end of the log was changed without the root secret";
const MISSING: &str = "the end of the log is missing from the database";
const OLDER: &str = "the log was put back to an older state";
/// How many positions are read at once.
const BATCH: i64 = 10_000;

/// No log comes so far; what stands there was put there by somebody else.
const MOST: i64 = 1 << 62;

/// The row of a log. One that can't be read is told as one that is not authentic.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<Option<Row>> {
    match audit_heads::table.find(org).first(conn).optional() {
        Err(DieselError::DeserializationError(_)) => Ok(Some(Row::unreadable(org))),
        row => Ok(row?),
    }
}

/// The row of a log and the position of its last entry, as of one moment.
pub fn find_with_last(conn: &mut Conn, org: OrgId) -> Result<(Option<Row>, Option<i64>)> {
    let last = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .select(diesel::dsl::max(audit_entries::position))
        .single_value();
    let found = audit_heads::table.find(org).select((audit_heads::all_columns, last));
    match found.first::<(Row, Option<i64>)>(conn).optional() {
        Ok(Some((row, last))) => Ok((Some(row), last)),
        Ok(None) | Err(DieselError::DeserializationError(_)) => {
            let last = next_position(conn, org)?.checked_sub(1).filter(|last| *last >= 0);
            Ok((find(conn, org)?, last))
        }
        Err(error) => Err(error.into()),
    }
}

/// The rows of all logs.
pub fn all(conn: &mut Conn) -> Result<Vec<Row>> {
    match audit_heads::table.order(audit_heads::org_id).load(conn) {
        // Which of them can't be read is found one by one.
        Err(DieselError::DeserializationError(_)) => {
            let orgs = readable(audit_heads::table.select(audit_heads::org_id).load(conn)?);
            let rows = orgs.into_iter().map(|org| find(conn, org));
            rows.filter_map(Result::transpose).collect()
        }
        rows => Ok(rows?),
    }
}

/// The row of a log, locked until the transaction ends. A log that has none gets an empty one, which
/// is not authenticated.
pub fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<Row> {
    let row = each!(tx.conn, |c| {
        diesel::insert_into(audit_heads::table)
            .values((audit_heads::org_id.eq(org), audit_heads::size.eq(0_i64)))
            .on_conflict(audit_heads::org_id)
            .do_update()
            .set(audit_heads::org_id.eq(org))
            .returning(audit_heads::all_columns)
            .get_result(c)
    });
    match row {
        Err(DieselError::DeserializationError(_)) => Ok(Row::unreadable(org)),
        row => Ok(row?),
    }
}

/// The row of a log about which something may be signed. Error: `LogBroken`.
pub fn sound(conn: &mut Conn, logs: &LogGuard, org: OrgId) -> Result<Row> {
    // Read before the row, so that it can't be ahead of it.
    let mark = logs.mark(org);
    match find(conn, org)? {
        Some(row) => row.into_sound(logs, mark),
        None => Err(broken(0, MISSING)),
    }
}

/// [`sound`], locked.
pub fn lock_sound(tx: &mut Tx<'_>, org: OrgId) -> Result<Row> {
    let row = lock(tx, org)?;
    let mark = tx.logs.mark(org);
    row.into_sound(tx.logs, mark)
}

/// A position behind all entries, whatever the row says. Where somebody has put an entry so far out
/// that there is none, it is the first free one behind as many as there are.
pub fn next_position(conn: &mut Conn, org: OrgId) -> Result<i64> {
    let own = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .filter(audit_entries::position.ge(0).and(audit_entries::position.lt(MOST)));
    let last: Option<i64> = own.select(diesel::dsl::max(audit_entries::position)).first(conn)?;
    let next = last.map_or(0, |last| last + 1);
    if next < MOST {
        return Ok(next);
    }
    let mut free: i64 = own.count().get_result(conn)?;
    loop {
        let taken: Vec<i64> = own
            .filter(audit_entries::position.ge(free))
            .order(audit_entries::position)
            .select(audit_entries::position)
            .limit(BATCH)
            .load(conn)?;
        let run = taken.iter().zip(free..).take_while(|(position, expected)| *position == expected).count();
        free += run as i64;
        if run < taken.len() || taken.is_empty() {
            return Ok(free);
        }
    }
}

fn broken(index: i64, why: &str) -> Error {
    Error::LogBroken { index: index.cast_unsigned(), why: why.to_owned() }
}

/// Marks a log as broken, unless it already is. Error: `Unavailable` where the root secret was
/// replaced and this process still has the one before, so that it can't judge.
pub fn mark_broken(tx: &mut Tx<'_>, org: OrgId, index: Option<i64>, why: &str) -> Result<()> {
    let exists = organizations::table.find(org).select(organizations::id).first::<OrgId>(tx.conn);
    if exists.optional()?.is_none() {
        tracing::error!(organization = %org, "an organisation with an audit log is missing from the database");
        return Ok(());
    }
    let mut row = lock(tx, org)?;
    row.break_at(tx, index, why)?;
    row.save(tx)
}

/// The digest of kept checkpoints and one more.
pub fn chain(before: Option<&[u8]>, note: &str) -> tree::Hash {
    sha256(&[before.unwrap_or_default(), note.as_bytes()].concat())
}
