//! The head of a log: its size and right edge, authenticated under a key derived from the root secret. So
//! a change by anyone who can write to the database but doesn't know the secret is noticed.
//!
//! A log that was found broken stays broken until an operator recovers it ([`crate::audit::recovery`]).
//! Entries are still appended, so that damaging the log can't prevent a revocation, but nothing is signed.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::tree;
use crate::crypto::sha256;
use crate::db::{Conn, LogGuard, Tx, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::{audit_entries, audit_heads, organizations};

mod row;

pub use self::row::HeadRow;

/// The fault of a head that fails authentication.
pub const CHANGED: &str = "the end of the log was changed without the root secret";
const MISSING: &str = "the end of the log is missing from the database";
const OLDER: &str = "the log was put back to an older state";
/// How many positions are read at once.
const BATCH: i64 = 10_000;

/// Above any real position: an entry from there on was not written by Keydesk.
const MOST: i64 = 1 << 62;

/// The head of a log. A row that can't be parsed is returned as one that fails authentication.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<Option<HeadRow>> {
    match audit_heads::table.find(org).first(conn).optional() {
        Err(DieselError::DeserializationError(_)) => Ok(Some(HeadRow::unreadable(org))),
        row => Ok(row?),
    }
}

/// The head of a log and the position of its last entry, read in one query.
pub fn find_with_last(conn: &mut Conn, org: OrgId) -> Result<(Option<HeadRow>, Option<i64>)> {
    let last = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .select(diesel::dsl::max(audit_entries::position))
        .single_value();
    let found = audit_heads::table.find(org).select((audit_heads::all_columns, last));
    match found.first::<(HeadRow, Option<i64>)>(conn).optional() {
        Ok(Some((row, last))) => Ok((Some(row), last)),
        Ok(None) | Err(DieselError::DeserializationError(_)) => {
            let last = next_position(conn, org)?.checked_sub(1).filter(|last| *last >= 0);
            Ok((find(conn, org)?, last))
        }
        Err(error) => Err(error.into()),
    }
}

/// The heads of all logs.
pub fn all(conn: &mut Conn) -> Result<Vec<HeadRow>> {
    match audit_heads::table.order(audit_heads::org_id).load(conn) {
        // Reads one row at a time to find the unreadable ones.
        Err(DieselError::DeserializationError(_)) => {
            let orgs = readable(audit_heads::table.select(audit_heads::org_id).load(conn)?);
            let rows = orgs.into_iter().map(|org| find(conn, org));
            rows.filter_map(Result::transpose).collect()
        }
        rows => Ok(rows?),
    }
}

/// The head of a log, locked until the transaction ends. A log without one gets an empty,
/// unauthenticated head.
pub fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<HeadRow> {
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
        Err(DieselError::DeserializationError(_)) => Ok(HeadRow::unreadable(org)),
        row => Ok(row?),
    }
}

/// The head of an intact log, about which something may be signed. Errors: `LogBroken`.
pub fn find_intact(conn: &mut Conn, logs: &LogGuard, org: OrgId) -> Result<HeadRow> {
    // Read before the row, so that the mark can't be ahead of it.
    let mark = logs.mark(org);
    match find(conn, org)? {
        Some(row) => row.into_intact(logs, mark),
        None => Err(broken(0, MISSING)),
    }
}

/// [`find_intact`], locked.
pub fn lock_intact(tx: &mut Tx<'_>, org: OrgId) -> Result<HeadRow> {
    let row = lock(tx, org)?;
    let mark = tx.logs.mark(org);
    row.into_intact(tx.logs, mark)
}

/// A position after all entries, whatever the head says. If an entry was planted so far out that no
/// position follows it, the first free one at or after the number of entries.
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

/// Marks a log as broken, unless it already is. Errors: `Unavailable` if the root secret was replaced and
/// this process still has the previous one, so that it can't judge.
pub fn mark_broken(tx: &mut Tx<'_>, org: OrgId, index: Option<i64>, why: &str) -> Result<()> {
    let exists = organizations::table.find(org).select(organizations::id).first::<OrgId>(tx.conn);
    if exists.optional()?.is_none() {
        tracing::error!(organization = %org, "the organisation of an audit log is missing from the database");
        return Ok(());
    }
    let mut row = lock(tx, org)?;
    row.break_at(tx, index, why)?;
    row.save(tx)
}

/// The digest of stored checkpoints after adding one.
pub fn chain(before: Option<&[u8]>, note: &str) -> tree::Hash {
    sha256(&[before.unwrap_or_default(), note.as_bytes()].concat())
}
