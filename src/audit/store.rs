//! Reading the log: entries, nodes of the tree, checkpoints.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::audit::entry::{Entry, EntryBody};
use crate::audit::head::{self, HeadRow};
use crate::audit::tree::{Edge, Hash, Nodes};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{EventId, OrgId};
use crate::schema::{audit_checkpoints, audit_entries, audit_nodes};
use crate::time::Time;

/// The head of a log, for readers.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// The number of entries.
    pub entries: u64,
    /// How many of them are in the tree: all, unless the log is broken.
    pub size: u64,
    /// The right edge of the tree.
    pub edge: Edge,
    /// The name under which its checkpoints are signed, once one was.
    pub origin: Option<String>,
    /// How many entries the last check found intact, and when.
    pub checked: Option<(u64, Time)>,
    /// The first bad entry, and what is wrong with it.
    pub broken: Option<(u64, String)>,
    /// When the admins were notified that the log is broken.
    pub alarmed_at: Option<Time>,
}

/// The current head of an organisation's log, not authenticated.
pub fn head(conn: &mut Conn, org: OrgId) -> Result<Head> {
    Ok(head::find(conn, org)?.map(|row| Head::of(&row)).unwrap_or_default())
}

impl Head {
    /// The head in a row.
    pub fn of(row: &HeadRow) -> Head {
        let edge = row.tree();
        let why = row.broken_why.clone().unwrap_or_default();
        let broken = row.broken_at.map(|index| (index.cast_unsigned(), why));
        let damaged = edge.is_none().then(|| (row.hashed.cast_unsigned(), head::CHANGED.to_owned()));
        let edge = edge.unwrap_or_default();
        Head {
            entries: row.size.cast_unsigned(),
            size: edge.size(),
            edge,
            origin: row.origin.clone(),
            checked: row.checked_at.map(|at| (row.checked.cast_unsigned(), at)),
            broken: broken.or(damaged),
            alarmed_at: row.alarmed_at,
        }
    }
}

/// The entry at a position.
pub fn entry(conn: &mut Conn, org: OrgId, index: u64) -> Result<Option<Entry>> {
    Ok(entries(conn, org, index, 1)?.into_iter().next().filter(|entry| entry.index == index.cast_signed()))
}

/// Up to `limit` entries from a position on, in order.
pub fn entries(conn: &mut Conn, org: OrgId, from: u64, limit: i64) -> Result<Vec<Entry>> {
    let rows = texts(conn, org, from, limit)?;
    Ok(rows.into_iter().map(|row| Entry::read(row.index, row.text)).collect())
}

/// An entry as stored, unparsed.
#[derive(Clone, Debug, Queryable)]
pub struct EntryText {
    /// The position.
    pub index: i64,
    pub text: String,
    /// The stored hash of the text.
    pub leaf: Option<Vec<u8>>,
}

/// Up to `limit` entries from a position on, in order, unparsed.
pub fn texts(conn: &mut Conn, org: OrgId, from: u64, limit: i64) -> Result<Vec<EntryText>> {
    Ok(audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::position.ge(from.cast_signed())))
        .order(audit_entries::position)
        .limit(limit)
        .select((audit_entries::position, audit_entries::entry, audit_entries::leaf))
        .load(conn)?)
}

/// An entry with its indexed columns, which have to agree with its text.
#[derive(Clone, Debug, Queryable)]
pub struct IndexedEntry {
    /// The position.
    pub index: i64,
    pub text: String,
    /// The stored hash of the text.
    pub leaf: Option<Vec<u8>>,
    id: EventId,
    at: Time,
    actor: String,
    action: String,
    target: String,
    address: Option<String>,
}

impl IndexedEntry {
    /// Whether the indexed columns agree with the text, so that a search finds the entry.
    pub fn is_consistent(&self) -> bool {
        // If the text can't be parsed but its hash is right, it is what was written.
        let Ok(body) = serde_json::from_str::<EntryBody>(&self.text) else { return true };
        body.id == self.id.to_string()
            && body.at.seconds() == self.at.seconds()
            && body.actor == self.actor
            && body.action == self.action
            && body.target == self.target
            && body.address == self.address
    }
}

/// Up to `limit` entries from a position on, in order, with their indexed columns.
pub fn indexed(conn: &mut Conn, org: OrgId, from: u64, limit: i64) -> Result<Vec<IndexedEntry>> {
    Ok(audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::position.ge(from.cast_signed())))
        .order(audit_entries::position)
        .limit(limit)
        .select((
            audit_entries::position,
            audit_entries::entry,
            audit_entries::leaf,
            audit_entries::id,
            audit_entries::at,
            audit_entries::actor,
            audit_entries::action,
            audit_entries::target,
            audit_entries::address,
        ))
        .load(conn)?)
}

/// The stored nodes of a level above the leaves with places in `from..until`, by place.
pub fn nodes(conn: &mut Conn, org: OrgId, level: u32, from: u64, until: u64) -> Result<HashMap<u64, Hash>> {
    let level = i16::try_from(level).unwrap_or(i16::MAX);
    let places = audit_nodes::place.ge(from.cast_signed()).and(audit_nodes::place.lt(until.cast_signed()));
    let rows: Vec<(i64, Vec<u8>)> = audit_nodes::table
        .filter(audit_nodes::org_id.eq(org).and(audit_nodes::level.eq(level)).and(places))
        .select((audit_nodes::place, audit_nodes::hash))
        .load(conn)?;
    let node = |(place, hash): (i64, Vec<u8>)| Some((place.cast_unsigned(), Hash::try_from(hash).ok()?));
    Ok(rows.into_iter().filter_map(node).collect())
}

/// The stored nodes of an organisation's tree.
pub struct StoredNodes<'a> {
    pub conn: &'a mut Conn,
    pub org: OrgId,
}

impl Nodes for StoredNodes<'_> {
    type Error = Error;

    fn get(&mut self, level: u32, place: u64) -> Result<Hash> {
        let place = place.cast_signed();
        let hash: Option<Vec<u8>> = if level == 0 {
            audit_entries::table
                .find((self.org, place))
                .select(audit_entries::leaf)
                .first::<Option<Vec<u8>>>(self.conn)
                .optional()?
                .flatten()
        } else {
            let level = i16::try_from(level).unwrap_or(i16::MAX);
            audit_nodes::table
                .find((self.org, level, place))
                .select(audit_nodes::hash)
                .first(self.conn)
                .optional()?
        };
        let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
        hash.ok_or_else(|| Error::internal(format!("the audit tree lacks node {place} of level {level}")))
    }
}

/// A stored checkpoint.
#[derive(Clone, Debug, Queryable)]
pub struct StoredCheckpoint {
    /// The number of entries.
    pub size: i64,
    /// When it was signed.
    pub at: Time,
    /// The signed note.
    pub note: String,
}

/// The latest stored checkpoint.
pub fn last_checkpoint(conn: &mut Conn, org: OrgId) -> Result<Option<StoredCheckpoint>> {
    Ok(audit_checkpoints::table
        .filter(audit_checkpoints::org_id.eq(org))
        .order(audit_checkpoints::size.desc())
        .select((audit_checkpoints::size, audit_checkpoints::at, audit_checkpoints::note))
        .first(conn)
        .optional()?)
}

/// The stored checkpoints with more than `size` entries, smallest first.
pub fn checkpoints_after(
    conn: &mut Conn,
    org: OrgId,
    size: u64,
    limit: i64,
) -> Result<Vec<StoredCheckpoint>> {
    Ok(audit_checkpoints::table
        .filter(audit_checkpoints::org_id.eq(org).and(audit_checkpoints::size.gt(size.cast_signed())))
        .order(audit_checkpoints::size)
        .limit(limit)
        .select((audit_checkpoints::size, audit_checkpoints::at, audit_checkpoints::note))
        .load(conn)?)
}
