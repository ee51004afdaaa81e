//! Bundles all expiring keys of a recipient on a day into one e-mail.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, UserId};
use crate::mail::outbox::{self, NewMail};
use crate::mail::{Digest, KeyExpiring};
use crate::notices::preference;
use crate::people;
use crate::people::store::Person;
use crate::schema::notice_readers as table;
use crate::time::Time;

/// How many recipients a transaction handles.
const BATCH: i64 = 50;
/// How many separate e-mails to one recipient a transaction queues.
const SINGLE: usize = 200;
/// How many keys a digest lists; mail programs truncate longer ones.
const LISTED: usize = 50;
/// How many notices one statement marks.
const MARKED: usize = 500;

/// Whether any notice is waiting to be bundled.
pub fn waits(conn: &mut Conn) -> Result<bool> {
    let waiting = table::table.filter(table::mail_id.is_null()).select(table::person_id);
    Ok(waiting.first::<UserId>(conn).optional()?.is_some())
}

/// Queues the e-mails of one batch of recipients with waiting notices; returns how many notices these were.
/// Recipients that another process is handling are skipped.
pub fn bundle(tx: &mut Tx<'_>, now: Time) -> Result<usize> {
    let waiting: Vec<(OrgId, UserId)> = table::table
        .filter(table::mail_id.is_null())
        .select((table::org_id, table::person_id))
        .distinct()
        .limit(BATCH)
        .load(tx.conn)?;
    let mut written = 0;
    for (org, person) in waiting {
        written += write(tx, org, person, now)?;
    }
    Ok(written)
}

/// A waiting notice, by key, expiry and step; unique per recipient.
type Mark = (KeyId, Time, i64);

/// The condition that a notice of a recipient is waiting.
macro_rules! waiting {
    ($org:expr, $reader:expr) => {
        table::org_id.eq($org).and(table::person_id.eq($reader)).and(table::mail_id.is_null())
    };
}

fn write(tx: &mut Tx<'_>, org: OrgId, reader: UserId, now: Time) -> Result<usize> {
    let waiting = table::table
        .filter(waiting!(org, reader))
        .order((table::ends_at, table::key_id, table::step))
        .select((table::key_id, table::ends_at, table::step));
    // Only the listed notices are read in full: there may be very many.
    let marks: Vec<Mark> = match tx.conn {
        Conn::Postgres(conn) => waiting.for_update().skip_locked().load(conn)?,
        Conn::Sqlite(conn) => waiting.load(conn)?,
    };
    let Some(person) = people::store::find(tx.conn, reader)?.filter(|_| !marks.is_empty()) else {
        return Ok(0);
    };
    if marks.len() > 1 && !preference::of(tx.conn, reader)?.single {
        digest(tx, org, &person, &marks, now)?;
        return Ok(marks.len());
    }
    let marks = &marks[..marks.len().min(SINGLE)];
    let mut mails = Vec::with_capacity(marks.len());
    for mark in marks {
        let draft = NewMail::new(person.recipient(Some(org)), letter(tx.conn, org, reader, mark)?, now);
        let this = table::key_id.eq(mark.0).and(table::ends_at.eq(mark.1)).and(table::step.eq(mark.2));
        diesel::update(table::table.filter(waiting!(org, reader).and(this)))
            .set((table::mail_id.eq(draft.id), table::letter.eq(None::<String>)))
            .execute(tx.conn)?;
        mails.push(draft);
    }
    outbox::queue_all(tx, &mails, now)?;
    Ok(marks.len())
}

/// Queues one e-mail about all of these.
fn digest(tx: &mut Tx<'_>, org: OrgId, person: &Person, marks: &[Mark], now: Time) -> Result<()> {
    let listed = &marks[..marks.len().min(LISTED)];
    let keys: Result<Vec<KeyExpiring>> =
        listed.iter().map(|mark| letter(tx.conn, org, person.id, mark)).collect();
    let more = i64::try_from(marks.len() - listed.len()).map_err(Error::internal)?;
    let draft = NewMail::new(person.recipient(Some(org)), Digest { keys: keys?, more }, now);
    for marks in marks.chunks(MARKED) {
        mark_bundled(tx, org, person.id, marks, draft.id)?;
    }
    outbox::queue_all(tx, &[draft], now)
}

fn mark_bundled(tx: &mut Tx<'_>, org: OrgId, reader: UserId, marks: &[Mark], mail: MailId) -> Result<()> {
    let mut steps: Vec<i64> = marks.iter().map(|mark| mark.2).collect();
    steps.sort_unstable();
    steps.dedup();
    let these = table::key_id.eq_any(marks.iter().map(|mark| mark.0)).and(table::step.eq_any(steps));
    diesel::update(table::table.filter(waiting!(org, reader).and(these)))
        .set((table::mail_id.eq(mail), table::letter.eq(None::<String>)))
        .execute(tx.conn)?;
    Ok(())
}

fn letter(conn: &mut Conn, org: OrgId, reader: UserId, mark: &Mark) -> Result<KeyExpiring> {
    let this = table::key_id.eq(mark.0).and(table::ends_at.eq(mark.1)).and(table::step.eq(mark.2));
    let text: Option<String> =
        table::table.filter(waiting!(org, reader).and(this)).select(table::letter).first(conn)?;
    serde_json::from_str(text.as_deref().unwrap_or_default()).map_err(Error::internal)
}
