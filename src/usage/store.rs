//! Rows of counts, by minute, hour and day.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::schema::{api_keys, key_secrets, usage_callers, usage_counts, usage_latencies};
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::usage::batch::{Batch, Cell, Latency, Sum};
use crate::usage::upsert::upsert;
use crate::usage::{refusals, summary, windows};

/// What is counted is added to its minute, its hour and its day at once, so that no later run
/// has to aggregate, and all three always agree.
const WIDTHS: [i64; 3] = [MINUTE, HOUR, DAY];
/// How long minutes are kept, in days.
const MINUTE_DAYS: i64 = 2;
/// How long hours and callers are kept, in days. Days are kept for good.
pub const HOUR_DAYS: i64 = 100;

#[derive(Insertable)]
#[diesel(table_name = usage_counts, treat_none_as_default_value = false)]
struct CountRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    width: i64,
    start: Time,
    secret_id: SecretId,
    scope: &'static str,
    model: &'a str,
    outcome: &'static str,
    requests: i64,
    input_tokens: i64,
    output_tokens: i64,
}

#[derive(Insertable)]
#[diesel(table_name = usage_latencies, treat_none_as_default_value = false)]
struct LatencyRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    width: i64,
    start: Time,
    scope: &'static str,
    model: &'a str,
    bucket: i16,
    requests: i64,
}

#[derive(Insertable)]
#[diesel(table_name = usage_callers, treat_none_as_default_value = false)]
struct CallerRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    hour: Time,
    address: &'a str,
    program: &'a str,
    requests: i64,
    last_at: Time,
}

/// Adds a batch to what was counted before.
pub fn add(tx: &mut Tx<'_>, batch: &Batch, now: Time) -> Result<()> {
    for width in WIDTHS {
        add_counts(tx, batch, width)?;
        add_latencies(tx, batch, width)?;
    }
    add_callers(tx, batch)?;
    summary::add(tx, batch)?;
    windows::add(tx, batch, now)?;
    refusals::store::add(tx, &batch.refused)?;
    note_last_uses(tx, batch)
}

fn add_counts(tx: &mut Tx<'_>, batch: &Batch, width: i64) -> Result<()> {
    // Sorted, so that two processes never wait for each other's rows.
    let mut sums: BTreeMap<Cell, Sum> = BTreeMap::new();
    for (cell, sum) in &batch.counts {
        sums.entry(Cell { start: cell.start.floor(width), ..cell.clone() }).or_default().add(*sum);
    }
    let rows = sums.iter().map(|(cell, sum)| CountRow {
        org_id: cell.org,
        key_id: cell.key,
        width,
        start: cell.start,
        secret_id: cell.secret,
        scope: cell.scope,
        model: &cell.model,
        outcome: cell.outcome,
        requests: sum.requests,
        input_tokens: sum.input_tokens,
        output_tokens: sum.output_tokens,
    });
    upsert!(
        tx,
        rows,
        usage_counts,
        by(org_id, key_id, width, start, secret_id, scope, model, outcome),
        add(requests, input_tokens, output_tokens),
        set()
    );
    Ok(())
}

fn add_latencies(tx: &mut Tx<'_>, batch: &Batch, width: i64) -> Result<()> {
    let mut sums: BTreeMap<Latency, i64> = BTreeMap::new();
    for (latency, requests) in &batch.latencies {
        *sums.entry(Latency { start: latency.start.floor(width), ..latency.clone() }).or_default() +=
            requests;
    }
    let rows = sums.iter().map(|(latency, &requests)| LatencyRow {
        org_id: latency.org,
        key_id: latency.key,
        width,
        start: latency.start,
        scope: latency.scope,
        model: &latency.model,
        bucket: latency.bucket,
        requests,
    });
    upsert!(
        tx,
        rows,
        usage_latencies,
        by(org_id, key_id, width, start, scope, model, bucket),
        add(requests),
        set()
    );
    Ok(())
}

fn add_callers(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut callers: Vec<_> = batch.callers.iter().collect();
    callers.sort_unstable_by_key(|(caller, _)| *caller);
    let rows = callers.into_iter().map(|(caller, &(requests, last_at))| CallerRow {
        org_id: caller.org,
        key_id: caller.key,
        secret_id: caller.secret,
        hour: caller.hour,
        address: &caller.address,
        program: &caller.program,
        requests,
        last_at,
    });
    upsert!(
        tx,
        rows,
        usage_callers,
        by(org_id, key_id, hour, secret_id, address, program),
        add(requests),
        set(last_at)
    );
    Ok(())
}

fn note_last_uses(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut uses: Vec<_> = batch.last_uses.iter().collect();
    uses.sort_unstable_by_key(|(_, last)| last.key);
    for (&secret, last) in uses {
        diesel::update(api_keys::table)
            .filter(api_keys::org_id.eq(last.org).and(api_keys::id.eq(last.key)))
            .set(api_keys::last_used_at.eq(last.at))
            .execute(tx.conn)?;
        let row = key_secrets::table.filter(key_secrets::org_id.eq(last.org).and(key_secrets::id.eq(secret)));
        diesel::update(row)
            .set((
                key_secrets::last_used_at.eq(last.at),
                key_secrets::last_address.eq(&last.address),
                key_secrets::last_program.eq(&last.program),
            ))
            .execute(tx.conn)?;
        diesel::update(row.filter(key_secrets::first_used_at.is_null()))
            .set(key_secrets::first_used_at.eq(last.at))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// Forgets minutes, hours and callers of long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    refusals::store::forget_old(tx, now)?;
    for (width, days) in [(MINUTE, MINUTE_DAYS), (HOUR, HOUR_DAYS)] {
        let end = now.plus(-days * DAY);
        diesel::delete(usage_counts::table)
            .filter(usage_counts::width.eq(width).and(usage_counts::start.lt(end)))
            .execute(tx.conn)?;
        diesel::delete(usage_latencies::table)
            .filter(usage_latencies::width.eq(width).and(usage_latencies::start.lt(end)))
            .execute(tx.conn)?;
    }
    diesel::delete(usage_callers::table.filter(usage_callers::hour.lt(now.plus(-HOUR_DAYS * DAY))))
        .execute(tx.conn)?;
    summary::forget_old(tx, now)
}
