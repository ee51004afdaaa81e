//! The journal: counts as processes write them, once a second. Rows are only inserted and deleted, so that no process
//! waits for another. [`super::sums`] adds them to the tables of sums later.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::schema::{usage_journal, usage_writers};
use crate::time::{DAY, Time};
use crate::usage::batch::Batch;
use crate::usage::refusals;

/// Rows written by one statement.
const CHUNK: usize = 500;
/// Seconds of silence after which a process has ended.
const GONE: i64 = 30;

/// A process that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer([u8; 16]);

#[derive(Insertable)]
#[diesel(table_name = usage_journal)]
struct Row<'a> {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    start: Time,
    scope: &'static str,
    model: &'a str,
    outcome: &'static str,
    bucket: i16,
    address: &'a str,
    program: &'a str,
    requests: i64,
    input_tokens: i64,
    output_tokens: i64,
    cached_tokens: i64,
    cache_write_tokens: i64,
    reasoning_tokens: i64,
    last_at: Time,
}

impl Writer {
    /// The process with this random name.
    pub fn new(name: [u8; 16]) -> Writer {
        Writer(name)
    }

    /// Writes the batch of this number, unless it was written before: the answer to a commit can be lost. After that,
    /// everything that this process answered before `now` is counted.
    pub fn write(self, tx: &mut Tx<'_>, number: i64, batch: &Batch, now: Time) -> Result<()> {
        let state = (
            usage_writers::batch.eq(number),
            usage_writers::counted_until.eq(now),
            usage_writers::seen_at.eq(now),
        );
        // An earlier attempt may still be committing. Both statements wait for it; a read before the write would
        // miss it.
        let row = (usage_writers::id.eq(self.0.as_slice()), state);
        let mut noted = each!(tx.conn, |c| {
            diesel::insert_into(usage_writers::table).values(row).on_conflict_do_nothing().execute(c)
        })?;
        if noted == 0 {
            let own = usage_writers::table.find(self.0.as_slice()).filter(usage_writers::batch.lt(number));
            noted = diesel::update(own).set(state).execute(tx.conn)?;
        }
        if noted == 0 {
            return Ok(());
        }
        // Rows of a key are deleted together later; side by side, they share pages of the database.
        let mut counts: Vec<_> = batch.counts.iter().collect();
        counts.sort_unstable_by_key(|(cell, _)| cell.key);
        let rows = counts.into_iter().map(|(cell, uses)| Row {
            org_id: cell.org,
            key_id: cell.key,
            secret_id: cell.secret,
            start: cell.start,
            scope: cell.scope,
            model: &cell.model,
            outcome: cell.outcome,
            bucket: cell.bucket.unwrap_or(-1),
            address: &cell.address,
            program: &cell.program,
            requests: uses.sum.requests,
            input_tokens: uses.sum.input_tokens,
            output_tokens: uses.sum.output_tokens,
            cached_tokens: uses.sum.cached_tokens,
            cache_write_tokens: uses.sum.cache_write_tokens,
            reasoning_tokens: uses.sum.reasoning_tokens,
            last_at: uses.last_at,
        });
        for rows in rows.collect::<Vec<_>>().chunks(CHUNK) {
            each!(tx.conn, |c| diesel::insert_into(usage_journal::table).values(rows).execute(c))?;
        }
        refusals::store::add(tx, &batch.refused)
    }

    /// Notes that this process has nothing to count until its next batch.
    pub fn rest(self, tx: &mut Tx<'_>) -> Result<()> {
        let own = usage_writers::table.find(self.0.as_slice());
        diesel::update(own).set(usage_writers::counted_until.eq(None::<Time>)).execute(tx.conn)?;
        Ok(())
    }

    /// The time up to which all other running processes have counted everything; `None` if none is counting.
    pub fn others_counted_until(self, conn: &mut Conn, now: Time) -> Result<Option<Time>> {
        Ok(usage_writers::table
            .filter(usage_writers::id.ne(self.0.as_slice()).and(usage_writers::seen_at.gt(now.plus(-GONE))))
            .select(diesel::dsl::min(usage_writers::counted_until))
            .first(conn)?)
    }
}

/// When keys were last used according to the journal, for those that have rows there.
pub fn last_uses(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashMap<KeyId, Time>> {
    let rows: Vec<(KeyId, Option<Time>)> = usage_journal::table
        .filter(usage_journal::org_id.eq(org).and(usage_journal::key_id.eq_any(keys)))
        .group_by(usage_journal::key_id)
        .select((usage_journal::key_id, diesel::dsl::max(usage_journal::last_at)))
        .load(conn)?;
    Ok(rows.into_iter().filter_map(|(key, at)| Some((key, at?.whole_second()))).collect())
}

/// Deletes processes that ended long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(usage_writers::table.filter(usage_writers::seen_at.lt(now.plus(-DAY))))
        .execute(tx.conn)?;
    Ok(())
}
