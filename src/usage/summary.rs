//! Sums over all keys of an organisation, so that its pages cost what it calls, not how many
//! keys call it; and what each key leaves behind for good: the last use of each scope and the
//! addresses it was called from.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::db::{Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{key_addresses, scope_uses, usage_total_latencies, usage_totals};
use crate::time::{DAY, HOUR, Time};
use crate::usage::batch::{Batch, Sum};
use crate::usage::store::HOUR_DAYS;
use crate::usage::upsert::upsert;

#[derive(Insertable)]
#[diesel(table_name = usage_totals, treat_none_as_default_value = false)]
struct TotalRow<'a> {
    org_id: OrgId,
    width: i64,
    start: Time,
    scope: &'a str,
    model: &'a str,
    outcome: &'a str,
    requests: i64,
    input_tokens: i64,
    output_tokens: i64,
}

#[derive(Insertable)]
#[diesel(table_name = usage_total_latencies, treat_none_as_default_value = false)]
struct LatencyRow<'a> {
    org_id: OrgId,
    width: i64,
    start: Time,
    scope: &'a str,
    model: &'a str,
    bucket: i16,
    requests: i64,
}

#[derive(Insertable)]
#[diesel(table_name = scope_uses, treat_none_as_default_value = false)]
struct ScopeRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    scope: &'a str,
    last_used_at: Time,
}

#[derive(Insertable)]
#[diesel(table_name = key_addresses, treat_none_as_default_value = false)]
struct AddressRow<'a> {
    org_id: OrgId,
    key_id: KeyId,
    address: &'a str,
    first_seen_at: Time,
    last_seen_at: Time,
}

/// Adds a batch to the sums of its organisations. Rows are written in their order, so that two
/// processes never wait for each other's.
pub fn add(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    for width in [HOUR, DAY] {
        add_totals(tx, batch, width)?;
        add_latencies(tx, batch, width)?;
    }
    note_scopes(tx, batch)?;
    note_addresses(tx, batch)
}

fn add_totals(tx: &mut Tx<'_>, batch: &Batch, width: i64) -> Result<()> {
    let mut sums: BTreeMap<_, Sum> = BTreeMap::new();
    for (cell, sum) in &batch.counts {
        let place = (cell.org, cell.start.floor(width), cell.scope, cell.model.as_str(), cell.outcome);
        sums.entry(place).or_default().add(*sum);
    }
    let rows = sums.into_iter().map(|((org_id, start, scope, model, outcome), sum)| TotalRow {
        org_id,
        width,
        start,
        scope,
        model,
        outcome,
        requests: sum.requests,
        input_tokens: sum.input_tokens,
        output_tokens: sum.output_tokens,
    });
    upsert!(
        tx,
        rows,
        usage_totals,
        by(org_id, width, start, scope, model, outcome),
        add(requests, input_tokens, output_tokens),
        set()
    );
    Ok(())
}

fn add_latencies(tx: &mut Tx<'_>, batch: &Batch, width: i64) -> Result<()> {
    let mut sums: BTreeMap<_, i64> = BTreeMap::new();
    for (latency, requests) in &batch.latencies {
        let start = latency.start.floor(width);
        let place = (latency.org, start, latency.scope, latency.model.as_str(), latency.bucket);
        *sums.entry(place).or_default() += requests;
    }
    let rows = sums.into_iter().map(|((org_id, start, scope, model, bucket), requests)| LatencyRow {
        org_id,
        width,
        start,
        scope,
        model,
        bucket,
        requests,
    });
    upsert!(
        tx,
        rows,
        usage_total_latencies,
        by(org_id, width, start, scope, model, bucket),
        add(requests),
        set()
    );
    Ok(())
}

fn note_scopes(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut uses: BTreeMap<_, Time> = BTreeMap::new();
    for cell in batch.counts.keys().filter(|cell| !cell.scope.is_empty()) {
        let last = uses.entry((cell.org, cell.key, cell.scope)).or_insert(cell.start);
        *last = cell.start.max(*last);
    }
    let rows = uses.into_iter().map(|((org_id, key_id, scope), last_used_at)| ScopeRow {
        org_id,
        key_id,
        scope,
        last_used_at,
    });
    upsert!(tx, rows, scope_uses, by(org_id, key_id, scope), add(), set(last_used_at));
    Ok(())
}

fn note_addresses(tx: &mut Tx<'_>, batch: &Batch) -> Result<()> {
    let mut seen: BTreeMap<_, (Time, Time)> = BTreeMap::new();
    for caller in batch.callers.keys() {
        let (first, last) = seen
            .entry((caller.org, caller.key, caller.address.as_str()))
            .or_insert((caller.hour, caller.hour));
        (*first, *last) = (caller.hour.min(*first), caller.hour.max(*last));
    }
    let rows = seen.into_iter().map(|((org_id, key_id, address), (first_seen_at, last_seen_at))| {
        AddressRow { org_id, key_id, address, first_seen_at, last_seen_at }
    });
    upsert!(tx, rows, key_addresses, by(org_id, key_id, address), add(), set(last_seen_at));
    Ok(())
}

/// Notes that a key holds scopes that it did not hold before.
pub fn note_granted(
    tx: &mut Tx<'_>,
    org: OrgId,
    key: KeyId,
    scopes: crate::scope::Scopes,
    now: Time,
) -> Result<()> {
    for scope in scopes.names() {
        each!(tx.conn, |c| {
            diesel::insert_into(scope_uses::table)
                .values((
                    scope_uses::org_id.eq(org),
                    scope_uses::key_id.eq(key),
                    scope_uses::scope.eq(scope),
                    scope_uses::granted_at.eq(now),
                ))
                .on_conflict((scope_uses::org_id, scope_uses::key_id, scope_uses::scope))
                .do_update()
                .set(scope_uses::granted_at.eq(now))
                .execute(c)
        })?;
    }
    Ok(())
}

/// Forgets sums by the hour and addresses of long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    let end = now.plus(-HOUR_DAYS * DAY);
    diesel::delete(usage_totals::table)
        .filter(usage_totals::width.eq(HOUR).and(usage_totals::start.lt(end)))
        .execute(tx.conn)?;
    diesel::delete(usage_total_latencies::table)
        .filter(usage_total_latencies::width.eq(HOUR).and(usage_total_latencies::start.lt(end)))
        .execute(tx.conn)?;
    diesel::delete(key_addresses::table.filter(key_addresses::last_seen_at.lt(end))).execute(tx.conn)?;
    Ok(())
}
