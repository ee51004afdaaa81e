//! Appending to the log.

use diesel::prelude::*;
use serde::Serialize;

use crate::audit::event::Event;
use crate::audit::tree::{self, Edge, Hash};
use crate::authority::Acting;
use crate::db::{Db, Tx, each};
use crate::error::{Error, Result};
use crate::id::{EventId, OrgId};
use crate::schema::{audit_entries, audit_heads, audit_nodes, organizations};
use crate::time::Time;

/// How many entries of before there was a tree are hashed in one transaction.
const BATCH: i64 = 5_000;

/// The text of an entry, in the order of its members.
#[derive(Serialize)]
struct Entry<'a> {
    id: EventId,
    at: Time,
    organization: OrgId,
    actor: crate::authority::Actor,
    target: &'a str,
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The end of a log, held by the transaction that appends.
struct Head {
    org: OrgId,
    /// How many entries the log has, those that are being appended included.
    size: i64,
    edge: Edge,
}

/// Appends one entry about `target`, an identifier such as `key_…`.
///
/// Call it late in the transaction: it takes the next index from a row that stays locked
/// until the commit, so that indexes have neither gaps nor another order than commits.
pub fn append(tx: &mut Tx<'_>, acting: &Acting, target: &str, event: &Event) -> Result<()> {
    let id = EventId::new(acting.now);
    let (action, text) = written(id, acting, target, event)?;
    let mut head = Head::extend(tx, acting.org)?;
    let position = head.size - 1;
    while (head.edge.size().cast_signed()) < position {
        head.hash_stored(tx, position)?;
    }
    let leaf = tree::leaf(text.as_bytes());
    diesel::insert_into(audit_entries::table)
        .values((
            audit_entries::org_id.eq(acting.org),
            audit_entries::position.eq(position),
            audit_entries::id.eq(id),
            audit_entries::at.eq(acting.now),
            audit_entries::actor.eq(acting.actor.to_string()),
            audit_entries::action.eq(action),
            audit_entries::target.eq(target),
            audit_entries::entry.eq(text),
            audit_entries::leaf.eq(leaf.as_slice()),
            audit_entries::address.eq(acting.address.as_deref()),
        ))
        .execute(tx.conn)?;
    head.grow(tx, &[leaf])
}

/// The name of what happened, and the text of its entry.
pub fn written(id: EventId, acting: &Acting, target: &str, event: &Event) -> Result<(String, String)> {
    let entry = Entry {
        id,
        at: acting.now,
        organization: acting.org,
        actor: acting.actor,
        target,
        event,
        address: acting.address.as_deref(),
        request_id: acting.request.as_deref(),
    };
    let told = serde_json::to_value(&entry).map_err(Error::internal)?;
    let action = told["action"].as_str().unwrap_or_default().to_owned();
    Ok((action, serde_json::to_string(&entry).map_err(Error::internal)?))
}

/// Hashes the entries that were written before there was a tree, some in each transaction.
pub fn hash_all(db: &Db) -> Result<()> {
    let orgs: Vec<OrgId> = db.read_now(|conn| {
        let behind = audit_heads::table.filter(audit_heads::hashed.lt(audit_heads::size));
        Ok(behind.select(audit_heads::org_id).load(conn)?)
    })?;
    for org in orgs {
        while db.write_now(|tx| hash_some(tx, org))? {}
    }
    Ok(())
}

/// Hashes some entries that are not in the tree yet; `false` when there are none left.
fn hash_some(tx: &mut Tx<'_>, org: OrgId) -> Result<bool> {
    let mut head = Head::lock(tx, org)?;
    if head.edge.size().cast_signed() >= head.size {
        return Ok(false);
    }
    let end = head.size;
    head.hash_stored(tx, end)?;
    Ok(true)
}

type HeadRow = (i64, i64, Option<Vec<u8>>);

impl Head {
    /// Takes the next place, which stays ours until the transaction ends.
    fn extend(tx: &mut Tx<'_>, org: OrgId) -> Result<Head> {
        let row: HeadRow = each!(tx.conn, |c| {
            diesel::insert_into(audit_heads::table)
                .values((audit_heads::org_id.eq(org), audit_heads::size.eq(1_i64)))
                .on_conflict(audit_heads::org_id)
                .do_update()
                .set(audit_heads::size.eq(audit_heads::size + 1))
                .returning((audit_heads::size, audit_heads::hashed, audit_heads::edge))
                .get_result(c)
        })?;
        Head::of(org, row)
    }

    /// The same without a new entry.
    fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<Head> {
        let row: HeadRow = diesel::update(audit_heads::table.filter(audit_heads::org_id.eq(org)))
            .set(audit_heads::hashed.eq(audit_heads::hashed + 0))
            .returning((audit_heads::size, audit_heads::hashed, audit_heads::edge))
            .get_result(tx.conn)?;
        Head::of(org, row)
    }

    fn of(org: OrgId, (size, hashed, edge): HeadRow) -> Result<Head> {
        let edge = Edge::from_bytes(hashed.cast_unsigned(), &edge.unwrap_or_default());
        let edge = edge.ok_or_else(|| Error::internal("the head of the audit log is damaged"))?;
        Ok(Head { org, size, edge })
    }

    /// Adds the hashes of new entries, and stores the nodes that they complete.
    fn grow(&mut self, tx: &mut Tx<'_>, leaves: &[Hash]) -> Result<()> {
        let mut completed = Vec::new();
        for leaf in leaves {
            self.edge.push(*leaf, |level, place, hash| completed.push((level, place, hash)));
        }
        for nodes in completed.chunks(500) {
            let row = |(level, place, hash): &(u32, u64, Hash)| {
                (
                    audit_nodes::org_id.eq(self.org),
                    audit_nodes::level.eq(i16::try_from(*level).unwrap_or(i16::MAX)),
                    audit_nodes::place.eq(place.cast_signed()),
                    audit_nodes::hash.eq(hash.to_vec()),
                )
            };
            let rows: Vec<_> = nodes.iter().map(row).collect();
            each!(tx.conn, |c| diesel::insert_into(audit_nodes::table).values(&rows).execute(c))?;
        }
        diesel::update(audit_heads::table.filter(audit_heads::org_id.eq(self.org)))
            .set((
                audit_heads::hashed.eq(self.edge.size().cast_signed()),
                audit_heads::edge.eq(self.edge.bytes()),
            ))
            .execute(tx.conn)?;
        Ok(())
    }

    /// Hashes entries that were written without it, up to `end` and at most [`BATCH`].
    fn hash_stored(&mut self, tx: &mut Tx<'_>, end: i64) -> Result<()> {
        let start = self.edge.size().cast_signed();
        let rows: Vec<(i64, String)> = audit_entries::table
            .filter(audit_entries::org_id.eq(self.org))
            .filter(audit_entries::position.ge(start).and(audit_entries::position.lt(end)))
            .order(audit_entries::position)
            .limit(BATCH)
            .select((audit_entries::position, audit_entries::entry))
            .load(tx.conn)?;
        let mut leaves = Vec::with_capacity(rows.len());
        for ((position, text), expected) in rows.iter().zip(start..) {
            if *position != expected {
                return Err(Error::internal(format!("the audit log has no entry {expected}")));
            }
            let leaf = tree::leaf(text.as_bytes());
            let said: serde_json::Value = serde_json::from_str(text).map_err(Error::internal)?;
            let row = audit_entries::org_id.eq(self.org).and(audit_entries::position.eq(position));
            diesel::update(audit_entries::table.filter(row))
                .set((
                    audit_entries::leaf.eq(leaf.as_slice()),
                    audit_entries::address.eq(said["address"].as_str()),
                ))
                .execute(tx.conn)?;
            leaves.push(leaf);
        }
        if leaves.is_empty() {
            return Err(Error::internal(format!("the audit log has no entry {start}")));
        }
        self.grow(tx, &leaves)
    }
}

/// All organisations, for work that is done for each.
pub fn orgs(conn: &mut crate::db::Conn) -> Result<Vec<(OrgId, String)>> {
    Ok(organizations::table
        .order(organizations::created_at)
        .select((organizations::id, organizations::slug))
        .load(conn)?)
}
