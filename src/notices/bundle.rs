//! One mail for all keys of a reader that come close to their end on a day.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::mail::{Digest, KeyExpiring, outbox};
use crate::notices::preference;
use crate::people;
use crate::schema::notice_readers as table;
use crate::time::Time;

/// How many readers a transaction writes to.
const BATCH: i64 = 50;
/// How many keys a digest lists; mail programs cut what is longer.
const LISTED: usize = 50;

/// Whether a letter waits.
pub fn waits(conn: &mut Conn) -> Result<bool> {
    let waiting = table::table.filter(table::mail_id.is_null()).select(table::person_id);
    Ok(waiting.first::<UserId>(conn).optional()?.is_some())
}

/// Queues the mails of one batch of readers whose letters wait; returns how many letters these were.
/// Readers to whom another process writes are left to it.
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

type Row = (KeyId, Time, i64, Option<String>);

fn write(tx: &mut Tx<'_>, org: OrgId, reader: UserId, now: Time) -> Result<usize> {
    let mine = table::org_id.eq(org).and(table::person_id.eq(reader)).and(table::mail_id.is_null());
    let waiting = table::table.filter(mine).order((table::ends_at, table::key_id)).select((
        table::key_id,
        table::ends_at,
        table::step,
        table::letter,
    ));
    let rows: Vec<Row> = match tx.conn {
        Conn::Postgres(conn) => waiting.for_update().skip_locked().load(conn)?,
        Conn::Sqlite(conn) => waiting.load(conn)?,
    };
    let Some(person) = people::store::find(tx.conn, reader)?.filter(|_| !rows.is_empty()) else {
        return Ok(0);
    };
    let to = person.recipient(Some(org));
    let letter = |row: &Row| -> Result<KeyExpiring> {
        serde_json::from_str(row.3.as_deref().unwrap_or_default()).map_err(Error::internal)
    };
    if rows.len() == 1 || preference::of(tx.conn, reader)?.single {
        for row in &rows {
            let mail = outbox::add(tx, &to, &letter(row)?.into(), now)?;
            let this = table::key_id.eq(row.0).and(table::ends_at.eq(row.1)).and(table::step.eq(row.2));
            diesel::update(table::table.filter(mine.and(this)))
                .set((table::mail_id.eq(mail), table::letter.eq(None::<String>)))
                .execute(tx.conn)?;
        }
        return Ok(rows.len());
    }
    let keys = rows.iter().take(LISTED).map(letter).collect::<Result<Vec<_>>>()?;
    let more = i64::try_from(rows.len() - keys.len()).map_err(Error::internal)?;
    let mail = outbox::add(tx, &to, &Digest { keys, more }.into(), now)?;
    for told in rows.chunks(500) {
        let keys = table::key_id.eq_any(told.iter().map(|row| row.0));
        let these = keys.and(table::step.eq_any(told.iter().map(|row| row.2)));
        diesel::update(table::table.filter(mine.and(these)))
            .set((table::mail_id.eq(mail), table::letter.eq(None::<String>)))
            .execute(tx.conn)?;
    }
    Ok(rows.len())
}
