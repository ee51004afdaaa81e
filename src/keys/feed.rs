//! The feed of changes. Every change of a key takes the next position, so that all processes see the changes
//! in the order of their commits. The feed also records which processes read it and how far, so that a
//! command can wait until all servers have seen a change.

use diesel::prelude::*;

use crate::crypto::{Digest, RootTag, fill_random};
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::orgs::membership::Affected;
use crate::schema::{api_keys, feed_head, feed_readers, key_changes, key_secrets};
use crate::time::{DAY, Time};

/// How many rows are inserted at once; each column is a parameter of the statement.
const BATCH: usize = 1_000;
/// Seconds of silence after which a server, one of several, has ended.
const READER_GONE: i64 = 30;

/// The end of the feed: the position of its latest change, and a random stamp that was written with it. A
/// database that was restored from a backup, or lost changes in a fail-over, may reach the same position
/// again, but never with the same stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: i64,
    stamp: Vec<u8>,
    /// The tag of the database's root secret, if it is known.
    pub root: Option<Vec<u8>>,
}

impl Head {
    /// The head of a process that has read nothing.
    pub fn unread() -> Head {
        Head { position: 0, stamp: Vec::new(), root: None }
    }
}

/// The changes in the feed after a head.
pub enum Since {
    Nothing,
    /// The changed keys, with the current digests of their secrets.
    Changed(Vec<(KeyId, Digest)>),
    /// The feed does not continue that head, or has deleted some of the changes.
    Unknown,
}

/// Publishes that a key has changed. Call it last: the head's row stays locked until the commit.
pub fn publish(tx: &mut Tx<'_>, org: OrgId, key: KeyId, now: Time) -> Result<()> {
    publish_all(tx, org, &[key], now)
}

/// Publishes that the rights of all keys of an owner have changed. Call it last.
pub fn publish_keys_of(tx: &mut Tx<'_>, affected: &Affected, now: Time) -> Result<()> {
    let keys: Vec<KeyId> = api_keys::table
        .filter(api_keys::org_id.eq(affected.org).and(api_keys::owner_id.eq(affected.owner)))
        .filter(api_keys::revoked_at.is_null())
        .select(api_keys::id)
        .load(tx.conn)?;
    publish_all(tx, affected.org, &keys, now)
}

/// Publishes that these keys have changed. Call it last.
pub fn publish_all(tx: &mut Tx<'_>, org: OrgId, keys: &[KeyId], now: Time) -> Result<()> {
    for keys in keys.chunks(BATCH) {
        let count = i64::try_from(keys.len()).map_err(Error::internal)?;
        let mut stamp = [0; 16];
        fill_random(&mut stamp)?;
        let (last, previous): (i64, Vec<u8>) = diesel::update(feed_head::table)
            .set((
                feed_head::position.eq(feed_head::position + count),
                feed_head::previous_stamp.eq(feed_head::stamp),
                feed_head::stamp.eq(stamp.as_slice()),
            ))
            .returning((feed_head::position, feed_head::previous_stamp))
            .get_result(tx.conn)?;
        // Keydesk writes no rows beyond the head. If something else did, they must not block a revocation.
        diesel::delete(key_changes::table.filter(key_changes::position.gt(last - count))).execute(tx.conn)?;
        let rows: Vec<_> = (last - count + 1..)
            .zip(keys)
            .map(|(position, key)| {
                (
                    key_changes::position.eq(position),
                    key_changes::org_id.eq(org),
                    key_changes::key_id.eq(*key),
                    key_changes::at.eq(now),
                    key_changes::previous_stamp.eq(previous.as_slice()),
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

/// The current head of the feed.
pub fn head(conn: &mut Conn) -> Result<Head> {
    let head = feed_head::table.select((feed_head::position, feed_head::stamp, feed_head::root));
    let (position, stamp, root) = head.first(conn)?;
    Ok(Head { position, stamp, root })
}

/// Records the root secret of the database, so that all processes notice its replacement.
pub fn set_root(tx: &mut Tx<'_>, root: RootTag) -> Result<()> {
    let root = root.to_vec();
    let other = feed_head::root.is_null().or(feed_head::root.ne(root.clone()));
    diesel::update(feed_head::table.filter(other)).set(feed_head::root.eq(root)).execute(tx.conn)?;
    Ok(())
}

/// The changes after `seen`, up to `head`.
pub fn since(conn: &mut Conn, seen: &Head, head: &Head) -> Result<Since> {
    if seen == head {
        return Ok(Since::Nothing);
    }
    let between = key_changes::position.gt(seen.position).and(key_changes::position.le(head.position));
    let kept: i64 = key_changes::table.filter(between).count().get_result(conn)?;
    let next = key_changes::table.find(seen.position + 1).select(key_changes::previous_stamp);
    let continues = next.first::<Vec<u8>>(conn).optional()?.is_some_and(|stamp| stamp == seen.stamp);
    if kept != head.position - seen.position || !continues {
        return Ok(Since::Unknown);
    }
    let rows: Vec<(KeyId, Vec<u8>)> =
        key_changes::table
            .inner_join(key_secrets::table.on(
                key_secrets::org_id.eq(key_changes::org_id).and(key_secrets::key_id.eq(key_changes::key_id)),
            ))
            .filter(between)
            .select((key_changes::key_id, key_secrets::digest))
            .load(conn)?;
    // No process has cached a digest of another length.
    let change = |(key, digest): (KeyId, Vec<u8>)| Some((key, Digest::try_from(digest).ok()?));
    Ok(Since::Changed(rows.into_iter().filter_map(change).collect()))
}

/// The random id of a process that reads the feed.
pub type Reader = [u8; 16];

/// Whether a server's note is there and no other server has one.
pub fn is_only_reader(conn: &mut Conn, reader: &Reader) -> Result<bool> {
    let readers: Vec<Vec<u8>> = feed_readers::table.select(feed_readers::id).limit(2).load(conn)?;
    Ok(readers == [reader.as_slice()])
}

/// Records that a server has read the feed up to a position. Returns how many servers there are.
///
/// A server that is alone is silent while nothing changes, so another one that starts may only remove the
/// notes of silent servers once these have had time to notice it.
pub fn note_reader(
    tx: &mut Tx<'_>,
    reader: &Reader,
    position: i64,
    may_remove: bool,
    now: Time,
) -> Result<u32> {
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
    if may_remove {
        remove_silent(tx, i64::MAX, now)?;
    }
    let readers: i64 = feed_readers::table.count().get_result(tx.conn)?;
    Ok(u32::try_from(readers).unwrap_or(u32::MAX))
}

/// Removes the notes of servers that are behind a position and have been silent for long.
pub fn remove_silent(tx: &mut Tx<'_>, position: i64, now: Time) -> Result<()> {
    let silent = feed_readers::position.lt(position).and(feed_readers::seen_at.lt(now.plus(-READER_GONE)));
    diesel::delete(feed_readers::table.filter(silent)).execute(tx.conn)?;
    Ok(())
}

/// Records that a server stops.
pub fn remove_reader(tx: &mut Tx<'_>, reader: &Reader) -> Result<()> {
    diesel::delete(feed_readers::table.filter(feed_readers::id.eq(reader.as_slice()))).execute(tx.conn)?;
    Ok(())
}

/// Whether every running server has read the feed up to a position.
pub fn is_noticed(conn: &mut Conn, position: i64) -> Result<bool> {
    let behind: i64 =
        feed_readers::table.filter(feed_readers::position.lt(position)).count().get_result(conn)?;
    Ok(behind == 0)
}

/// Deletes changes older than a day. A process that was away for longer starts with an empty cache.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(key_changes::table.filter(key_changes::at.lt(now.plus(-DAY)))).execute(tx.conn)?;
    Ok(())
}
