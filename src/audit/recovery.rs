//! Recovering a broken log without hiding the damage.
//!
//! If the entries match the authentic head of the log, only derived data was damaged: it is rebuilt and
//! nothing is lost. Otherwise no one can tell what was written, and the log can't continue under its name,
//! since two logs of one name would contradict each other. The entries stay as they are and begin a log
//! with a new name; missing ones are replaced by entries that say so.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::entry::EntryBody;
use crate::audit::event::Event;
use crate::audit::head::{self, HeadRow};
use crate::audit::register::{self, Register};
use crate::audit::store::IndexedEntry;
use crate::audit::tree::{self, Edge};
use crate::audit::{log, store};
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{EventId, OrgId};
use crate::schema::{audit_checkpoints, audit_entries, audit_nodes};
use crate::time::Time;

/// How many entries are read at once.
const BATCH: i64 = 2_000;
/// How many missing entries can be replaced.
const MOST_MISSING: i64 = 10_000;

/// The result of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log was not broken.
    Intact,
    /// All entries are intact; the derived data was rebuilt.
    Repaired,
    /// The log continues under this name.
    Renamed(String),
    /// Entries were changed or lost. Nothing was done, because a new name was not accepted.
    Refused,
}

/// Recovers a log. `name` is its default name; `accepts` permits continuing under a new one. Call it while
/// no server is running: the log stays locked while it is hashed.
pub fn recover(tx: &mut Tx<'_>, acting: &Acting, name: &str, accepts: bool) -> Result<Outcome> {
    let org = acting.org;
    // Marks other logs that contradict the register before it is written.
    let latest = register::update(tx)?;
    let mut register = Register::lock(tx)?.unwrap_or_default();
    register.epoch = register.epoch.max(latest);
    let mut head = head::lock(tx, org)?;
    let fault = head.fault(tx.logs, tx.logs.mark(org))?;
    let was_broken = fault.is_some() || head.broken_at.is_some();
    if !was_broken && !accepts {
        return Ok(Outcome::Intact);
    }
    let (index, why) = (head.broken_at.unwrap_or(0), head.broken_why.clone());
    let why =
        why.or(fault.map(str::to_owned)).unwrap_or_else(|| "an operator requested a new name".to_owned());
    let tree_of_head = head.tree().filter(|_| fault.is_none() && head.hashed > 0);
    let anchor = register.logs.get(&org).copied();
    let edge = match tree_of_head {
        Some(expected) if was_broken => match replay(tx, org, expected.size())? {
            Some(edge) if edge == expected && anchor.is_none_or(|anchor| anchor.size <= edge.size()) => {
                Some(edge)
            }
            _ => None,
        },
        _ => None,
    };
    if edge.is_none() && !accepts {
        return Ok(Outcome::Refused);
    }
    diesel::delete(audit_nodes::table.filter(audit_nodes::org_id.eq(org))).execute(tx.conn)?;
    let size = head::next_position(tx.conn, org)?;
    rebuild(tx, acting, &mut head, size)?;
    let new_name = match edge {
        Some(_) => None,
        None => Some(format!("{name}/{}", acting.now.rfc3339().replace([':', '-'], ""))),
    };
    if new_name.is_some() || !keeps_its_checkpoints(tx, &head)? {
        diesel::delete(audit_checkpoints::table.filter(audit_checkpoints::org_id.eq(org)))
            .execute(tx.conn)?;
        (head.kept, head.kept_size) = (None, 0);
    }
    if let Some(name) = &new_name {
        head.origin = Some(name.clone());
    }
    (head.checked, head.checked_at, head.whole_at) = (0, None, None);
    (head.broken_at, head.broken_why, head.alarmed_at) = (None, None, None);
    head.save(tx)?;
    tx.logs.forget(org);
    let event = Event::LogRecovered { index: index.cast_unsigned(), why, name: new_name.clone() };
    log::append(tx, acting, &org.to_string(), &event)?;
    if let Some(head) = head::find(tx.conn, org)? {
        register.record(&head);
    }
    register.write(tx)?;
    Ok(new_name.map_or(Outcome::Repaired, Outcome::Renamed))
}

/// Whether the stored checkpoints are those that the head knows.
fn keeps_its_checkpoints(tx: &mut Tx<'_>, head: &HeadRow) -> Result<bool> {
    let checkpoints = match store::checkpoints_after(tx.conn, head.org, 0, i64::MAX) {
        Err(error) if error.is_unreadable() => return Ok(false),
        checkpoints => checkpoints?,
    };
    let mut kept: Option<Vec<u8>> = None;
    for checkpoint in checkpoints {
        kept = Some(head::chain(kept.as_deref(), &checkpoint.note).to_vec());
    }
    Ok(kept == head.kept)
}

/// The tree of the first `size` entries, built from their texts; `None` if one is missing or unreadable.
fn replay(tx: &mut Tx<'_>, org: OrgId, size: u64) -> Result<Option<Edge>> {
    let mut edge = Edge::default();
    while edge.size() < size {
        let start = edge.size();
        let texts = match store::texts(tx.conn, org, start, BATCH) {
            Err(error) if error.is_unreadable() => return Ok(None),
            texts => texts?,
        };
        for (row, index) in texts.into_iter().zip(start..size) {
            if row.index != index.cast_signed() {
                return Ok(None);
            }
            edge.push(tree::leaf(row.text.as_bytes()), |_, _, _| {});
        }
        if edge.size() == start {
            return Ok(None);
        }
    }
    Ok(Some(edge))
}

/// Rebuilds everything derived from the entries, and replaces missing ones.
fn rebuild(tx: &mut Tx<'_>, acting: &Acting, head: &mut HeadRow, size: i64) -> Result<()> {
    let org = head.org;
    let count: i64 = audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::position.ge(0)))
        .count()
        .get_result(tx.conn)?;
    if size.saturating_sub(count) > MOST_MISSING {
        return Err(Error::Conflict(
            "More than 10,000 entries are missing. Restore the database from a backup.",
        ));
    }
    // Keydesk never writes outside this range.
    let outside = audit_entries::position.lt(0).or(audit_entries::position.ge(size));
    diesel::delete(audit_entries::table.filter(audit_entries::org_id.eq(org).and(outside)))
        .execute(tx.conn)?;
    let mut edge = Edge::default();
    let mut next = 0;
    while next < size {
        let rows = readable(tx, org, edge.size())?;
        let mut rows = rows.into_iter().peekable();
        let mut leaves = Vec::new();
        let end = size.min(next.saturating_add(BATCH));
        for index in next..end {
            let (text, fits) = match rows.next_if(|row| row.index == index) {
                Some(row) => {
                    let fits = row.leaf.as_deref() == Some(tree::leaf(row.text.as_bytes()).as_slice());
                    (row.text.clone(), fits && row.is_consistent())
                }
                None => (insert_lost(tx, acting, index)?, false),
            };
            if !fits {
                refresh(tx, org, index, &text)?;
            }
            leaves.push(tree::leaf(text.as_bytes()));
        }
        log::grow(tx, head, &mut edge, &leaves)?;
        next = end;
    }
    head.size = size;
    Ok(())
}

/// A batch of entries from a position on. Entries with unreadable text are removed, since every reader
/// would miss them; unreadable columns of the others are rewritten.
fn readable(tx: &mut Tx<'_>, org: OrgId, from: u64) -> Result<Vec<IndexedEntry>> {
    match store::indexed(tx.conn, org, from, BATCH) {
        Err(error) if error.is_unreadable() => {}
        rows => return rows,
    }
    let places = audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::position.ge(from.cast_signed())))
        .order(audit_entries::position)
        .limit(BATCH)
        .select(audit_entries::position);
    let mut rows = Vec::new();
    for index in places.load::<i64>(tx.conn)? {
        let row = audit_entries::table.find((org, index));
        let text = match row.select(audit_entries::entry).first::<String>(tx.conn) {
            Err(DieselError::DeserializationError(_)) => None,
            text => Some(text?),
        };
        if let Some(text) = text {
            refresh(tx, org, index, &text)?;
            match store::indexed(tx.conn, org, index.cast_unsigned(), 1) {
                Err(error) if error.is_unreadable() => {}
                found => {
                    rows.extend(found?);
                    continue;
                }
            }
        }
        diesel::delete(row).execute(tx.conn)?;
    }
    Ok(rows)
}

/// Writes an entry that marks this position as lost.
fn insert_lost(tx: &mut Tx<'_>, acting: &Acting, index: i64) -> Result<String> {
    let id = EventId::new(acting.now);
    let target = acting.org.to_string();
    let (action, text) = log::render(id, acting, &target, &Event::EntryLost)?;
    diesel::insert_into(audit_entries::table)
        .values((
            audit_entries::org_id.eq(acting.org),
            audit_entries::position.eq(index),
            audit_entries::id.eq(id),
            audit_entries::at.eq(acting.now),
            audit_entries::actor.eq(acting.actor.to_string()),
            audit_entries::action.eq(action),
            audit_entries::target.eq(target),
            audit_entries::entry.eq(&text),
        ))
        .execute(tx.conn)?;
    Ok(text)
}

/// Sets the columns that follow from an entry's text.
fn refresh(tx: &mut Tx<'_>, org: OrgId, index: i64, text: &str) -> Result<()> {
    let leaf = tree::leaf(text.as_bytes());
    let row = audit_entries::table.find((org, index));
    diesel::update(row).set(audit_entries::leaf.eq(leaf.as_slice())).execute(tx.conn)?;
    let Ok(body) = serde_json::from_str::<EntryBody>(text) else { return Ok(()) };
    diesel::update(row)
        .set((
            audit_entries::actor.eq(body.actor),
            audit_entries::action.eq(body.action),
            audit_entries::target.eq(body.target),
            audit_entries::address.eq(body.address),
        ))
        .execute(tx.conn)?;
    let at: Time = row.select(audit_entries::at).first(tx.conn)?;
    if at.seconds() != body.at.seconds() {
        diesel::update(row).set(audit_entries::at.eq(body.at)).execute(tx.conn)?;
    }
    if let Some(id) = EventId::parse(&body.id) {
        diesel::update(row).set(audit_entries::id.eq(id)).execute(tx.conn)?;
    }
    Ok(())
}
