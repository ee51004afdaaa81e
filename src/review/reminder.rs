//! Reminding the admins of an organisation of what its review holds.

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::OrgId;
use crate::mail::{ReviewFinding, ReviewReminder, outbox};
use crate::orgs::store::{self as orgs, Org};
use crate::review::rules::Card;
use crate::review::store;
use crate::schema::{organizations, review_looks};
use crate::time::{DAY, Time};

/// After how many days they are reminded again: as long as a finding can be kept.
pub const EVERY_DAYS: i64 = crate::review::keep::KEEP_DAYS;

/// Queues the mails if that is due. Where nothing was found there is none, and the next is due as
/// many days later all the same.
pub fn remind(tx: &mut Tx<'_>, org: OrgId, now: Time) -> Result<()> {
    use review_looks as l;
    let next = now.plus(EVERY_DAYS * DAY);
    // What was looked at before there were reminders has its first as late as what is new.
    diesel::update(l::table.filter(l::org_id.eq(org).and(l::remind_at.is_null())))
        .set(l::remind_at.eq(next))
        .execute(tx.conn)?;
    let due = l::table.filter(l::org_id.eq(org).and(l::remind_at.le(now)));
    if diesel::update(due).set(l::remind_at.eq(next)).execute(tx.conn)? == 0 {
        return Ok(());
    }
    let counts = store::cards(tx.conn, org)?;
    let found = |card: Card| counts.get(card.name()).copied().filter(|found| *found > 0);
    let findings: Vec<ReviewFinding> = Card::ALL
        .into_iter()
        .filter_map(|card| Some(ReviewFinding { found: found(card)?, what: what(card).to_owned() }))
        .collect();
    if findings.is_empty() {
        return Ok(());
    }
    let Org { slug, .. } = organizations::table.find(org).first(tx.conn)?;
    let letter = ReviewReminder { org: slug, findings }.into();
    for person in orgs::key_managers(tx.conn, org)? {
        outbox::queue(tx, &person.recipient(Some(org)), &letter, now)?;
    }
    Ok(())
}

fn what(card: Card) -> &'static str {
    match card {
        Card::CalledAfterEnd => "still called after their end",
        Card::OwnerLeft => "without an active owner",
        Card::EndsSoon => "end within 7 days",
        Card::ManyErrors => "with over 5 % errors",
        Card::NewAddress => "called from a new address",
        Card::ScopeUnused => "scopes that nobody needs",
        Card::NeverUsed => "never used",
        Card::Idle90 => "not used for 90 days",
        Card::Idle30 => "not used for 30 days",
        Card::NoExpiry => "without an end",
    }
}
