//! The feed of changes: every change of a key takes the next position, so that every process
//! learns of it in the order of commits; and who reads it, so that a command can wait until
//! the servers have taken notice.

use diesel::prelude::*;

use crate::crypto::Digest;
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::orgs::membership::Affected;
use crate::schema::{api_keys, feed_head, feed_readers, key_changes, key_secrets};
use crate::time::{DAY, Time};

/// How many rows are inserted at once; each column is a parameter of the statement.
const BATCH: usize = 1_000;
/// After how many seconds a server that says nothing is taken to be gone.
const READER_GONE: i64 = 30;

/// Notes that a key has changed. Call it last: the head's row stays locked until the commit.
pub fn publish(tx: &mut Tx<'_>, org: OrgId, key: KeyId, now: Time) -> Result<()> {
    let position: i64 = diesel::update(feed_head::table)
        .set(feed_head::position.eq(feed_head::position + 1))
        .returning(feed_head::position)
        .get_result(tx.conn)?;
    diesel::insert_into(key_changes::table)
        .values((
            key_changes::position.eq(position),
            key_changes::org_id.eq(org),
            key_changes::key_id.eq(key),
            key_changes::at.eq(now),
        ))
        .execute(tx.conn)?;
    tx.changes_keys();
    Ok(())
}

/// Notes that all living keys of an owner may do something else now. Call it last.
pub fn publish_keys_of(tx: &mut Tx<'_>, affected: &Affected, now: Time) -> Result<()> {
    let keys: Vec<KeyId> = api_keys::table
        .filter(api_keys::org_id.eq(affected.org).and(api_keys::owner_id.eq(affected.owner)))
        .filter(api_keys::revoked_at.is_null())
        .select(api_keys::id)
        .load(tx.conn)?;
    publish_all(tx, affected.org, &keys, now)
}

/// Notes that these keys may do something else now. Call it last.
pub fn publish_all(tx: &mut Tx<'_>, org: OrgId, keys: &[KeyId], now: Time) -> Result<()> {
    for keys in keys.chunks(BATCH) {
        let count = i64::try_from(keys.len()).map_err(Error::internal)?;
        let last: i64 = diesel::update(feed_head::table)
            .set(feed_head::position.eq(feed_head::position + count))
            .returning(feed_head::position)
            .get_result(tx.conn)?;
        let rows: Vec<_> = (last - count + 1..)
            .zip(keys)
            .map(|(position, key)| {
                (
                    key_changes::position.eq(position),
                    key_changes::org_id.eq(org),
                    key_changes::key_id.eq(*key),
                    key_changes::at.eq(now),
                )
            })
            .collect();
        each!(tx.conn, |c| diesel::insert_into(key_changes::table).values(&rows).execute(c))?;
    }
    if !keys.is_empty() {
        tx.changes_keys();
    }
    Ok(())
}

/// The position of the latest change.
pub fn head(conn: &mut Conn) -> Result<i64> {
    Ok(feed_head::table.select(feed_head::position).first(conn)?)
}

/// The digests of all secrets of the keys that changed after `seen`, up to `head`; `None` where
/// some of these changes are no longer kept.
pub fn digests_changed(conn: &mut Conn, seen: i64, head: i64) -> Result<Option<Vec<Digest>>> {
    let between = key_changes::position.gt(seen).and(key_changes::position.le(head));
    let kept: i64 = key_changes::table.filter(between).count().get_result(conn)?;
    if kept != head - seen {
        return Ok(None);
    }
    let rows: Vec<Vec<u8>> =
        key_changes::table
            .inner_join(key_secrets::table.on(
                key_secrets::org_id.eq(key_changes::org_id).and(key_secrets::key_id.eq(key_changes::key_id)),
            ))
            .filter(between)
            .select(key_secrets::digest)
            .load(conn)?;
    let digests: Result<Vec<Digest>> = rows
        .into_iter()
        .map(|digest| Digest::try_from(digest).map_err(|_| Error::internal("a digest has another length")))
        .collect();
    digests.map(Some)
}

/// A process that reads the feed, named by random bytes.
pub type Reader = [u8; 16];

/// Notes that a server has taken in the feed up to a position.
pub fn note_reader(tx: &mut Tx<'_>, reader: &Reader, position: i64, now: Time) -> Result<()> {
    each!(tx.conn, |c| {
        diesel::insert_into(feed_readers::table)
            .values((
                feed_readers::id.eq(reader.as_slice()),
                feed_readers::position.eq(position),
                feed_readers::seen_at.eq(now),
            ))
            .on_conflict(feed_readers::id)
            .do_update()
            .set((feed_readers::position.eq(position), feed_readers::seen_at.eq(now)))
            .execute(c)
    })?;
    diesel::delete(feed_readers::table.filter(feed_readers::seen_at.lt(now.plus(-READER_GONE))))
        .execute(tx.conn)?;
    Ok(())
}

/// Notes that a server stops.
pub fn remove_reader(tx: &mut Tx<'_>, reader: &Reader) -> Result<()> {
    diesel::delete(feed_readers::table.filter(feed_readers::id.eq(reader.as_slice()))).execute(tx.conn)?;
    Ok(())
}

/// Whether every running server has taken in the feed up to a position.
pub fn is_noticed(conn: &mut Conn, position: i64, now: Time) -> Result<bool> {
    let behind: i64 = feed_readers::table
        .filter(feed_readers::position.lt(position).and(feed_readers::seen_at.ge(now.plus(-READER_GONE))))
        .count()
        .get_result(conn)?;
    Ok(behind == 0)
}

/// Forgets changes of more than a day ago. Whoever was away for longer starts anew.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(key_changes::table.filter(key_changes::at.lt(now.plus(-DAY)))).execute(tx.conn)?;
    Ok(())
}
