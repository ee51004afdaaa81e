//! Looking at all keys of an organisation, some hundred at a time, so that the page and the
//! count in the navigation cost the same however many keys there are.
//!
//! Small organisations are looked at whenever the page is; for larger ones a look is taken the
//! less often the longer it takes. An act on a key looks at that key at once.

use std::collections::{HashMap, HashSet};

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::db::{Db, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, readable};
use crate::review::facts::{self, Which};
use crate::review::reminder;
use crate::review::rules::{self, Card, Facts};
use crate::review::store::{self, Place};
use crate::schema::{organizations, review_cards, review_findings, review_looks};
use crate::time::{MINUTE, Time};

/// How many keys are looked at in one transaction.
const STEP: i64 = 400;
/// How long others wait for whoever looks.
const BUSY: i64 = 5 * MINUTE;
/// How many times as long as a look takes there is none.
const REST: i64 = 100;
/// The shortest time between two looks, in seconds.
const LEAST_REST: i64 = 2;

/// How a look goes on.
struct Progress {
    after: Option<KeyId>,
    live: i64,
    open: i64,
}

/// Looks at the keys of every organisation for which that is due. `clock` tells the time.
pub async fn look_at_all(db: &Db, clock: fn() -> Time, go_on: impl Fn() -> bool) -> Result<()> {
    let orgs = db.read(|conn| Ok(organizations::table.select(organizations::id).load(conn)?)).await?;
    for org in readable::<OrgId>(orgs) {
        // What is wrong with the keys of one delays no other.
        if let Err(error) = look(db, org, clock, &go_on).await {
            tracing::warn!(organization = %org, cause = ?error, "the review is not up to date; retrying at the next tick");
        }
    }
    Ok(())
}

/// Looks at the keys of an organisation if that is due and nobody else does.
pub async fn look(db: &Db, org: OrgId, clock: fn() -> Time, go_on: impl Fn() -> bool) -> Result<()> {
    let began = clock();
    // Most of the time none is due, and asking must not wait for a writer.
    let due = db.read(move |conn| Ok(store::last_look(conn, org)?.is_none_or(|look| look.next_at <= began)));
    if !due.await? || !db.write(move |tx| claim(tx, org, began)).await? {
        return Ok(());
    }
    let mut progress = Progress { after: None, live: 0, open: 0 };
    loop {
        if !go_on() {
            return db.write(move |tx| release(tx, org)).await;
        }
        let after = progress.after;
        let (next, live, open) = db.write(move |tx| step(tx, org, after, began)).await?;
        progress = Progress { after: next, live: progress.live + live, open: progress.open + open };
        if next.is_none() {
            break;
        }
    }
    db.write(move |tx| finish(tx, org, (progress.live, progress.open), began, clock())).await
}

/// Takes the look for oneself. Whether nobody else has it.
fn claim(tx: &mut Tx<'_>, org: OrgId, now: Time) -> Result<bool> {
    use review_looks as l;
    let (never, busy_until) = (Time::from_seconds(0), now.plus(BUSY));
    each!(tx.conn, |c| {
        diesel::insert_into(l::table)
            .values((
                l::org_id.eq(org),
                l::looked_at.eq(never),
                l::next_at.eq(never),
                l::busy_until.eq(never),
                l::live_keys.eq(0),
                l::open_keys.eq(0),
            ))
            .on_conflict(l::org_id)
            .do_nothing()
            .execute(c)
    })?;
    let claimed = diesel::update(l::table)
        .filter(l::org_id.eq(org).and(l::busy_until.le(now)).and(l::next_at.le(now)))
        .set(l::busy_until.eq(busy_until))
        .execute(tx.conn)?;
    Ok(claimed == 1)
}

fn release(tx: &mut Tx<'_>, org: OrgId) -> Result<()> {
    diesel::update(review_looks::table.find(org))
        .set(review_looks::busy_until.eq(Time::from_seconds(0)))
        .execute(tx.conn)?;
    Ok(())
}

/// Looks at some keys. Where to go on, how many of them live, and how many of those have findings.
fn step(tx: &mut Tx<'_>, org: OrgId, after: Option<KeyId>, now: Time) -> Result<(Option<KeyId>, i64, i64)> {
    let facts = facts::read(tx.conn, org, Which::After(after, STEP), now)?;
    let found = note(tx, org, &facts, now)?;
    let open: HashSet<KeyId> = found.keys().map(|(key, _, _)| *key).collect();
    let lives = |facts: &&Facts| facts.revoked_at.is_none() && facts.expires_at.is_none_or(|end| end > now);
    let live = facts.iter().filter(lives).count();
    let open = facts.iter().filter(lives).filter(|facts| open.contains(&facts.key)).count();
    let is_last = i64::try_from(facts.len()).unwrap_or(STEP) < STEP;
    let next = facts.last().map(|facts| facts.key).filter(|_| !is_last);
    Ok((next, i64::try_from(live).unwrap_or(0), i64::try_from(open).unwrap_or(0)))
}

/// Writes what is found about keys and not kept.
fn note(tx: &mut Tx<'_>, org: OrgId, facts: &[Facts], now: Time) -> Result<HashMap<Place, Time>> {
    let keys: Vec<KeyId> = facts.iter().map(|facts| facts.key).collect();
    let before = store::of_keys(tx.conn, org, &keys)?;
    let kept = store::kept(tx.conn, org, &keys, now)?;
    let mut found = HashMap::new();
    for facts in facts {
        for finding in rules::findings(facts, now) {
            let place = store::place(facts.key, &finding);
            // Who has looked at one new address has not looked at the next.
            let holds = |at: &Time| finding.card != Card::NewAddress || finding.since <= *at;
            if !kept.get(&place).is_some_and(holds) {
                found.insert(place, finding.since);
            }
        }
    }
    store::replace(tx, org, &before, &found)?;
    Ok(found)
}

/// Looks at one key at once, after something was done about it.
pub fn look_at(tx: &mut Tx<'_>, org: OrgId, key: KeyId, now: Time) -> Result<()> {
    let facts = facts::read(tx.conn, org, Which::These(&[key]), now)?;
    let before = store::of_keys(tx.conn, org, &[key])?;
    let found = note(tx, org, &facts, now)?;
    for (places, change) in [(&before, -1_i64), (&found, 1)] {
        for (_, card, _) in places.keys() {
            each!(tx.conn, |c| {
                diesel::insert_into(review_cards::table)
                    .values((
                        review_cards::org_id.eq(org),
                        review_cards::card.eq(card),
                        review_cards::found.eq(change),
                    ))
                    .on_conflict((review_cards::org_id, review_cards::card))
                    .do_update()
                    .set(review_cards::found.eq(review_cards::found + change))
                    .execute(c)
            })?;
        }
    }
    let change = i64::from(!found.is_empty()) - i64::from(!before.is_empty());
    diesel::update(review_looks::table.find(org))
        .set(review_looks::open_keys.eq(review_looks::open_keys + change))
        .execute(tx.conn)?;
    Ok(())
}

/// Counts what was found, and says when to look again.
fn finish(tx: &mut Tx<'_>, org: OrgId, (live, open): (i64, i64), began: Time, now: Time) -> Result<()> {
    let counts: Vec<(String, i64)> = review_findings::table
        .filter(review_findings::org_id.eq(org))
        .group_by(review_findings::card)
        .select((review_findings::card, count_star()))
        .load(tx.conn)?;
    diesel::delete(review_cards::table.filter(review_cards::org_id.eq(org))).execute(tx.conn)?;
    for (card, found) in counts {
        diesel::insert_into(review_cards::table)
            .values((
                review_cards::org_id.eq(org),
                review_cards::card.eq(card),
                review_cards::found.eq(found),
            ))
            .execute(tx.conn)?;
    }
    let next = now.plus((now.since(began) * REST).max(LEAST_REST));
    diesel::update(review_looks::table.find(org))
        .set((
            review_looks::looked_at.eq(began),
            review_looks::next_at.eq(next),
            review_looks::busy_until.eq(Time::from_seconds(0)),
            review_looks::live_keys.eq(live),
            review_looks::open_keys.eq(open),
        ))
        .execute(tx.conn)?;
    reminder::remind(tx, org, now)
}
