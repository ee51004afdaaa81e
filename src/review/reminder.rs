//! Reminds the admins of an organisation of its open findings every 90 days.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::OrgId;
use crate::mail::{ReviewFinding, ReviewReminder, outbox};
use crate::orgs::store::{self as orgs, Org};
use crate::review::rules::{FindingKind, SNOOZE_DAYS};
use crate::review::store;
use crate::schema::{organizations, review_looks};
use crate::time::{DAY, Time};

/// Days between reminders: as many as a finding can be snoozed for.
const EVERY_DAYS: i64 = SNOOZE_DAYS;

/// Whether [`remind`] has something to do.
pub fn is_due(conn: &mut Conn, org: OrgId, now: Time) -> Result<bool> {
    let at: Option<Option<Time>> =
        review_looks::table.find(org).select(review_looks::remind_at).first(conn).optional()?;
    Ok(at.is_some_and(|at| at.is_none_or(|at| at <= now)))
}

/// Queues the reminders if they are due. Without findings no one is reminded, and the next reminder is due
/// 90 days later all the same.
pub fn remind(tx: &mut Tx<'_>, org: OrgId, now: Time) -> Result<()> {
    use review_looks as l;
    let next = now.plus(EVERY_DAYS * DAY);
    // The first reminder is due 90 days after the first scan.
    diesel::update(l::table.filter(l::org_id.eq(org).and(l::remind_at.is_null())))
        .set(l::remind_at.eq(next))
        .execute(tx.conn)?;
    let due = l::table.filter(l::org_id.eq(org).and(l::remind_at.le(now)));
    if diesel::update(due).set(l::remind_at.eq(next)).execute(tx.conn)? == 0 {
        return Ok(());
    }
    let counts = store::counts(tx.conn, org)?;
    let found = |kind: FindingKind| counts.get(kind.name()).copied().filter(|found| *found > 0);
    let findings: Vec<ReviewFinding> = FindingKind::ALL
        .into_iter()
        .filter_map(|kind| Some(ReviewFinding { found: found(kind)?, what: describe(kind).to_owned() }))
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

fn describe(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::CalledAfterEnd => "still used after they expired or were revoked",
        FindingKind::OwnerLeft => "without an active owner",
        FindingKind::EndsSoon => "expire within 7 days",
        FindingKind::ManyErrors => "with over 5 % errors",
        FindingKind::NewAddress => "used from a new address",
        FindingKind::ScopeUnused => "with unused scopes",
        FindingKind::NeverUsed => "never used",
        FindingKind::Idle90 => "not used for 90 days",
        FindingKind::Idle30 => "not used for 30 days",
        FindingKind::NoExpiry => "without an expiry date",
    }
}
