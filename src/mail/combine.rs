//! Keeps mailboxes from being flooded: e-mails that pile up for one recipient are combined into a summary.
//!
//! Only e-mails about keys are combined or delayed. Something that a person requested, such as a password reset
//! link, is sent at once and doesn't count. An e-mail that a server may already have accepted isn't combined
//! either: it is sent again unchanged, under the same `Message-ID`.

use std::collections::BTreeSet;

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{MailId, OrgId, UserId};
use crate::mail::message::Message;
use crate::mail::outbox::{self, COMBINED, NewMail, QUEUED, Worker};
use crate::mail::{Recipient, Summarized, Summary};
use crate::schema::outbox as table;
use crate::time::{DAY, HOUR, MINUTE, Time};

/// How many pending e-mails to one recipient are sent separately.
const SEPARATE: usize = 5;
/// How many e-mails an address gets within an hour before all that follow are combined.
const ALLOWANCE: usize = 30;
/// How long to wait after the last e-mail to an address that has used its allowance.
const PAUSE: i64 = 5 * MINUTE;
/// How many e-mails to one recipient a transaction combines.
const AT_ONCE: i64 = 2000;
/// How many e-mails a summary lists; mail programs truncate longer ones.
const LISTED: usize = 50;
/// How many rows one statement marks.
const MARKED: usize = 500;

/// A pending e-mail.
struct Waiting {
    id: MailId,
    queued_at: Time,
    message: Message,
}

/// What to do with a recipient's pending e-mails.
#[derive(Debug, PartialEq, Eq)]
enum Plan {
    /// Combine those at these places and send the others separately.
    Combine(Vec<usize>),
    /// Delay all of them.
    Wait(Time),
}

/// The condition that an e-mail is about an organisation's keys.
macro_rules! about_keys {
    () => {
        table::org_id.is_not_null().and(table::key_id.is_not_null().or(table::event.eq("digest")))
    };
}

/// Returns those of the e-mails in `due`, which `worker` is about to claim, that are to be sent now. Others are
/// delayed, or combined into a summary, which is returned as well.
pub fn limit(tx: &mut Tx<'_>, worker: &Worker, mut due: Vec<MailId>, now: Time) -> Result<Vec<MailId>> {
    let readers: Vec<(OrgId, String)> = table::table
        .filter(table::id.eq_any(&due).and(about_keys!()))
        .select((table::org_id.assume_not_null(), table::address))
        .distinct()
        .load(tx.conn)?;
    for (org, address) in readers {
        let waiting = waiting(tx.conn, org, &address, now)?;
        let alone: Vec<bool> = waiting.iter().map(|mail| is_wanted_alone(&mail.message)).collect();
        let sent = sent(tx.conn, worker, &address, now)?;
        match plan(&alone, sent, now) {
            Plan::Wait(until) => {
                let ids: Vec<MailId> = waiting.iter().map(|mail| mail.id).collect();
                for ids in ids.chunks(MARKED) {
                    let these = table::table.filter(table::id.eq_any(ids));
                    diesel::update(these).set(table::due_at.eq(until)).execute(tx.conn)?;
                }
                due.retain(|id| !ids.contains(id));
            }
            Plan::Combine(places) if places.is_empty() => {}
            Plan::Combine(places) => {
                let mails: Vec<&Waiting> = places.iter().filter_map(|place| waiting.get(*place)).collect();
                due.retain(|id| mails.iter().all(|mail| mail.id != *id));
                due.push(combine(tx, &mails, now)?);
            }
        }
    }
    Ok(due)
}

/// `alone` says for each pending e-mail, oldest first, whether its recipient wants it separately; `sent` is how
/// many e-mails the address received in the last hour, and when it received the last.
fn plan(alone: &[bool], sent: (usize, Option<Time>), now: Time) -> Plan {
    let (had, last) = sent;
    let free_at = last.filter(|_| had >= ALLOWANCE).map(|last| last.plus(PAUSE));
    if let Some(free_at) = free_at.filter(|at| *at > now) {
        return Plan::Wait(free_at);
    }
    let room = ALLOWANCE.saturating_sub(had).max(1);
    let is_crowd = alone.iter().filter(|alone| !**alone).count() > SEPARATE;
    let (mut combined, mut separate) = (Vec::new(), Vec::new());
    for (place, alone) in alone.iter().enumerate() {
        if is_crowd && !alone { combined.push(place) } else { separate.push(place) }
    }
    if separate.len() + usize::from(is_crowd) > room {
        // One of those for which there is room is the summary.
        combined.extend(separate.drain(room - 1..));
        combined.sort_unstable();
    }
    Plan::Combine(combined)
}

/// Whether the recipient's preference has already bundled the e-mail, or requires a separate one.
fn is_wanted_alone(message: &Message) -> bool {
    match message {
        Message::Digest(_) => true,
        Message::KeyExpiring(content) => content.step >= DAY,
        _ => false,
    }
}

/// The e-mails about keys that are due and certainly haven't been sent, oldest first. Unreadable ones are left
/// out.
fn waiting(conn: &mut Conn, org: OrgId, address: &str, now: Time) -> Result<Vec<Waiting>> {
    let due = table::table
        .filter(table::state.eq(QUEUED).and(table::address.eq(address)).and(table::due_at.le(now)))
        .filter(table::org_id.eq(org).and(about_keys!()))
        .filter(table::claimed_by.is_null().and(table::unanswered.eq(false)))
        .order((table::created_at, table::id))
        .limit(AT_ONCE)
        .select((table::id, table::created_at, table::message));
    let rows: Vec<(Vec<u8>, Time, String)> = match conn {
        Conn::Postgres(conn) => due.for_update().skip_locked().load(conn)?,
        Conn::Sqlite(conn) => due.load(conn)?,
    };
    Ok(rows
        .into_iter()
        .filter_map(|(id, queued_at, message)| {
            let id = MailId::from_bytes(id.try_into().ok()?);
            Some(Waiting { id, queued_at, message: serde_json::from_str(&message).ok()? })
        })
        .collect())
}

/// How many e-mails about keys an address received in the last hour or is receiving now, and when it received
/// the last.
fn sent(conn: &mut Conn, worker: &Worker, address: &str, now: Time) -> Result<(usize, Option<Time>)> {
    let to_them = table::table.filter(table::address.eq(address).and(about_keys!()));
    let (had, last): (i64, Option<Time>) = to_them
        .filter(table::sent_at.gt(now.plus(-HOUR)).and(table::sent_at.le(now)))
        .filter(table::combined_in.is_null())
        .select((diesel::dsl::count_star(), diesel::dsl::max(table::sent_at)))
        .first(conn)?;
    let leaving: i64 = to_them
        .filter(table::state.eq(QUEUED).and(table::lease_until.gt(now)))
        .filter(table::claimed_by.ne(worker.as_slice()))
        .count()
        .get_result(conn)?;
    Ok((usize::try_from(had + leaving).unwrap_or(usize::MAX), last))
}

/// Queues a summary of e-mails to one recipient, which are not sent themselves any more.
fn combine(tx: &mut Tx<'_>, mails: &[&Waiting], now: Time) -> Result<MailId> {
    let ids: Vec<MailId> = mails.iter().map(|mail| mail.id).collect();
    let (org, person, name, address): (Option<OrgId>, Option<UserId>, String, String) = table::table
        .filter(table::id.eq_any(ids.first()))
        .select((table::org_id, table::person_id, table::name, table::address))
        .first(tx.conn)?;
    let draft = NewMail::new(Recipient { org, person, name, address }, summary(mails), now);
    outbox::queue_all(tx, std::slice::from_ref(&draft), now)?;
    for ids in ids.chunks(MARKED) {
        let combined = (table::state.eq(COMBINED), table::combined_in.eq(draft.id));
        diesel::update(table::table.filter(table::id.eq_any(ids))).set(combined).execute(tx.conn)?;
    }
    // A summary that is merged into this one was never sent, so nothing of it remains.
    let summaries = mails.iter().filter(|mail| matches!(mail.message, Message::Summary(_)));
    for former in summaries.map(|mail| mail.id) {
        diesel::update(table::table.filter(table::combined_in.eq(former)))
            .set(table::combined_in.eq(draft.id))
            .execute(tx.conn)?;
        diesel::delete(table::table.find(former)).execute(tx.conn)?;
    }
    Ok(draft.id)
}

fn summary(mails: &[&Waiting]) -> Summary {
    let (mut all, mut more, mut events) = (Vec::new(), 0, BTreeSet::new());
    for Waiting { queued_at: at, message, .. } in mails.iter().copied() {
        match message {
            Message::Summary(former) => {
                all.extend(former.listed.iter().cloned());
                more += former.more;
                events.insert(former.event.as_deref());
            }
            Message::Digest(digest) => {
                let keys = digest.keys.iter().cloned();
                all.extend(keys.map(|content| Summarized { at: *at, message: content.into() }));
                more += digest.more;
                events.insert(Some("key_expiring"));
            }
            message => {
                all.push(Summarized { at: *at, message: message.clone() });
                events.insert(Some(message.event()));
            }
        }
    }
    all.sort_by_key(|line| (urgency(&line.message), line.at));
    more += i64::try_from(all.len().saturating_sub(LISTED)).unwrap_or(i64::MAX);
    all.truncate(LISTED);
    let event = if events.len() == 1 { events.into_iter().next().flatten() } else { None };
    Summary { event: event.map(str::to_owned), listed: all, more }
}

/// The order in a summary, lowest first.
fn urgency(message: &Message) -> u8 {
    match message {
        Message::KeyWidened(_) => 0,
        Message::KeyCreated(_) | Message::KeyRotated(_) | Message::KeyRevoked(_) => 1,
        Message::KeyExpiredStillUsed(_) => 2,
        Message::KeyExpired(_) => 3,
        Message::KeyExpiring(_) => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn planned(crowd: usize, alone: usize, had: usize, last: i64) -> Plan {
        let waiting: Vec<bool> = (0..crowd).map(|_| false).chain((0..alone).map(|_| true)).collect();
        plan(&waiting, (had, Some(Time::from_seconds(NOW - last))), Time::from_seconds(NOW))
    }

    #[test]
    fn five_are_sent_separately_and_six_are_combined() {
        assert_eq!(planned(5, 0, 0, 60), Plan::Combine(vec![]));
        assert_eq!(planned(6, 0, 0, 60), Plan::Combine((0..6).collect()));
    }

    #[test]
    fn separate_e_mails_are_combined_if_there_is_no_room() {
        assert_eq!(planned(0, 30, 0, 60), Plan::Combine(vec![]));
        assert_eq!(planned(6, 10, 0, 60), Plan::Combine((0..6).collect()));
        assert_eq!(planned(0, 31, 0, 60), Plan::Combine((29..31).collect()));
        assert_eq!(planned(6, 10, 22, 60), Plan::Combine((0..6).chain(13..16).collect()));
    }

    #[test]
    fn address_beyond_its_allowance_gets_one_every_five_minutes() {
        assert_eq!(planned(1, 0, 30, 299), Plan::Wait(Time::from_seconds(NOW + 1)));
        assert_eq!(planned(1, 0, 30, 300), Plan::Combine(vec![]));
        assert_eq!(planned(2, 2, 41, 300), Plan::Combine((0..4).collect()));
    }
}
