//! Scans the keys of organisations and stores what it finds, so that the count in the navigation and the
//! pages of large organisations cost the same however many keys there are.
//!
//! A scan reads a few hundred keys at a time and writes only what differs from the stored findings, so a
//! scan of an idle organisation writes nothing. A change of a key scans that key at once.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::db::{Conn, Db, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, readable};
use crate::review::facts::{self, Which};
use crate::review::findings::{self, Places};
use crate::review::reminder;
use crate::review::store;
use crate::schema::{organizations, review_cards, review_findings, review_looks};
use crate::time::Time;

/// Keys read at once.
const STEP: i64 = 400;
/// Pause between scans, as a multiple of the last scan's duration.
const REST: u32 = 100;

/// When this process last scanned each organisation.
#[derive(Debug, Default)]
pub struct Scans(Mutex<HashMap<OrgId, LastScan>>);

#[derive(Clone, Copy, Debug)]
struct LastScan {
    at: Time,
    rests_until: Instant,
}

impl Scans {
    /// When this process last scanned the organisation's keys.
    pub fn last(&self, org: OrgId) -> Option<Time> {
        self.all().get(&org).map(|scanned| scanned.at)
    }

    fn rests(&self, org: OrgId) -> bool {
        self.all().get(&org).is_some_and(|scanned| scanned.rests_until > Instant::now())
    }

    fn note(&self, org: OrgId, at: Time, took: Duration) {
        self.all().insert(org, LastScan { at, rests_until: Instant::now() + took * REST });
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<OrgId, LastScan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys counted by a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct KeyCount {
    active: i64,
    with_findings: i64,
}

/// The result of scanning a few hundred keys.
struct Step {
    stored: Places,
    found: Places,
    counted: KeyCount,
    /// The last key, if there are more behind it.
    next: Option<KeyId>,
}

/// Scans every organisation that does not rest, until `go_on` is false. `clock` tells the time.
pub async fn scan_all(db: &Db, scans: &Scans, clock: fn() -> Time, go_on: impl Fn() -> bool) -> Result<()> {
    let orgs = db.read(|conn| Ok(organizations::table.select(organizations::id).load(conn)?)).await?;
    for org in readable::<OrgId>(orgs) {
        if scans.rests(org) {
            continue;
        }
        let (at, began) = (clock(), Instant::now());
        match scan(db, org, at, &go_on).await {
            Ok(true) => scans.note(org, at, began.elapsed()),
            Ok(false) => return Ok(()),
            // A fault in one organisation's keys delays no other.
            Err(error) => {
                tracing::warn!(organization = %org, cause = ?error, "scanning keys for the review failed; retrying at the next tick");
            }
        }
    }
    Ok(())
}

/// Scans all keys of an organisation. Returns whether it came to the end.
pub async fn scan(db: &Db, org: OrgId, now: Time, go_on: impl Fn() -> bool) -> Result<bool> {
    let mut counted = KeyCount::default();
    let mut after = None;
    loop {
        if !go_on() {
            return Ok(false);
        }
        let mut step = db.read(move |conn| Step::read(conn, org, after, now)).await?;
        if step.stored != step.found {
            step = db.write(move |tx| store_step(tx, org, after, now)).await?;
        }
        counted.active += step.counted.active;
        counted.with_findings += step.counted.with_findings;
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    if db.read(move |conn| is_summary_old(conn, org, counted, now)).await? {
        db.write(move |tx| summarize(tx, org, counted, now)).await?;
    }
    Ok(true)
}

impl Step {
    fn read(conn: &mut Conn, org: OrgId, after: Option<KeyId>, now: Time) -> Result<Step> {
        let facts = facts::read(conn, org, Which::After(after, STEP), now)?;
        let keys: Vec<KeyId> = facts.iter().map(|facts| facts.key).collect();
        let stored = store::of_keys(conn, org, &keys)?;
        let found = findings::open(conn, org, &facts, now)?;
        let open: HashSet<KeyId> = found.keys().map(|(key, _, _)| *key).collect();
        let active = facts.iter().filter(|facts| facts.is_active(now));
        let mut counted = KeyCount::default();
        let is_last = i64::try_from(facts.len()).unwrap_or(STEP) < STEP;
        for facts in active {
            counted.active += 1;
            counted.with_findings += i64::from(open.contains(&facts.key));
        }
        let next = keys.last().copied().filter(|_| !is_last);
        Ok(Step { stored, found, counted, next })
    }
}

fn store_step(tx: &mut Tx<'_>, org: OrgId, after: Option<KeyId>, now: Time) -> Result<Step> {
    // Other processes may store the same findings.
    tx.take_turn(org)?;
    let step = Step::read(tx.conn, org, after, now)?;
    store::replace(tx, org, &step.stored, &step.found)?;
    Ok(step)
}

/// Scans one key, after a change of it.
pub fn scan_key(tx: &mut Tx<'_>, org: OrgId, key: KeyId, now: Time) -> Result<()> {
    let facts = facts::read(tx.conn, org, Which::These(&[key]), now)?;
    let stored = store::of_keys(tx.conn, org, &[key])?;
    let found = findings::open(tx.conn, org, &facts, now)?;
    store::replace(tx, org, &stored, &found)?;
    for (places, change) in [(&stored, -1_i64), (&found, 1)] {
        for (_, kind, _) in places.keys() {
            each!(tx.conn, |c| {
                diesel::insert_into(review_cards::table)
                    .values((
                        review_cards::org_id.eq(org),
                        review_cards::card.eq(kind),
                        review_cards::found.eq(change),
                    ))
                    .on_conflict((review_cards::org_id, review_cards::card))
                    .do_update()
                    .set(review_cards::found.eq(review_cards::found + change))
                    .execute(c)
            })?;
        }
    }
    let change = i64::from(!found.is_empty()) - i64::from(!stored.is_empty());
    diesel::update(review_looks::table.find(org))
        .set(review_looks::open_keys.eq(review_looks::open_keys + change))
        .execute(tx.conn)?;
    Ok(())
}

/// How many findings of each kind are stored.
fn count(conn: &mut Conn, org: OrgId) -> Result<HashMap<String, i64>> {
    let rows: Vec<(String, i64)> = review_findings::table
        .filter(review_findings::org_id.eq(org))
        .group_by(review_findings::card)
        .select((review_findings::card, count_star()))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Whether the stored numbers differ from those of a scan, or a reminder is due.
fn is_summary_old(conn: &mut Conn, org: OrgId, counted: KeyCount, now: Time) -> Result<bool> {
    let Some(last) = store::last_scan(conn, org)? else { return Ok(true) };
    let same = (last.active_keys, last.open_keys) == (counted.active, counted.with_findings);
    Ok(!same || reminder::is_due(conn, org, now)? || count(conn, org)? != store::counts(conn, org)?)
}

/// Stores the numbers of a scan, and reminds people if that is due.
fn summarize(tx: &mut Tx<'_>, org: OrgId, counted: KeyCount, now: Time) -> Result<()> {
    tx.take_turn(org)?;
    let (before, after) = (store::counts(tx.conn, org)?, count(tx.conn, org)?);
    for kind in before.keys().filter(|kind| !after.contains_key(*kind)) {
        diesel::delete(review_cards::table.find((org, kind))).execute(tx.conn)?;
    }
    for (kind, found) in after.iter().filter(|(kind, found)| before.get(*kind) != Some(found)) {
        each!(tx.conn, |c| {
            diesel::insert_into(review_cards::table)
                .values((
                    review_cards::org_id.eq(org),
                    review_cards::card.eq(kind),
                    review_cards::found.eq(found),
                ))
                .on_conflict((review_cards::org_id, review_cards::card))
                .do_update()
                .set(review_cards::found.eq(found))
                .execute(c)
        })?;
    }
    let numbers = (
        review_looks::looked_at.eq(now),
        review_looks::live_keys.eq(counted.active),
        review_looks::open_keys.eq(counted.with_findings),
    );
    // Earlier versions wait until then before they scan.
    let free = Time::from_seconds(0);
    each!(tx.conn, |c| {
        diesel::insert_into(review_looks::table)
            .values((
                review_looks::org_id.eq(org),
                review_looks::next_at.eq(free),
                review_looks::busy_until.eq(free),
                numbers,
            ))
            .on_conflict(review_looks::org_id)
            .do_update()
            .set(numbers)
            .execute(c)
    })?;
    reminder::remind(tx, org, now)
}
