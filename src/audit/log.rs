//! Appending to the log.

use diesel::prelude::*;
use diesel::result::Error as DieselError;
use diesel::upsert::excluded;
use serde::Serialize;

use crate::audit::event::Event;
use crate::audit::head::{self, HeadRow};
use crate::audit::register;
use crate::audit::tree::{self, Edge, Hash};
use crate::authority::Acting;
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{EventId, OrgId, readable};
use crate::schema::{audit_entries, audit_nodes, organizations};
use crate::time::Time;

/// The fault of a log with an entry where the next one belongs.
const BEHIND: &str = "there are entries behind the end of the log that Keydesk did not write there";

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

/// Appends one entry about `target`, an identifier such as `key_…`.
///
/// Call it late in the transaction: it takes the next index from a row that stays locked until the
/// commit, so indexes have no gaps and follow the commit order.
///
/// The head of the log is authenticated before and after. A broken log still accepts the entry, outside
/// the tree and never signed: damaging the log must not prevent a revocation.
pub fn append(tx: &mut Tx<'_>, acting: &Acting, target: &str, event: &Event) -> Result<()> {
    let id = EventId::new(acting.now);
    let (action, text) = render(id, acting, target, event)?;
    let leaf = tree::leaf(text.as_bytes());
    let insert = |tx: &mut Tx<'_>, position: i64| -> Result<bool> {
        let row = (
            audit_entries::org_id.eq(acting.org),
            audit_entries::position.eq(position),
            audit_entries::id.eq(id),
            audit_entries::at.eq(acting.now),
            audit_entries::actor.eq(acting.actor.to_string()),
            audit_entries::action.eq(&action),
            audit_entries::target.eq(target),
            audit_entries::entry.eq(&text),
            audit_entries::leaf.eq(leaf.as_slice()),
            audit_entries::address.eq(acting.address.as_deref()),
        );
        let place = (audit_entries::org_id, audit_entries::position);
        let inserted = each!(tx.conn, |c| {
            diesel::insert_into(audit_entries::table).values(row).on_conflict(place).do_nothing().execute(c)
        })?;
        Ok(inserted == 1)
    };
    let mut head = head::lock(tx, acting.org)?;
    // Each log begins in the transaction that creates its organisation.
    let fault = if head.is_blank() && matches!(event, Event::OrganizationCreated { .. }) {
        register::add(tx, acting.org)?
    } else {
        head.fault(tx.logs, tx.logs.mark(acting.org))?
    };
    let fault = match (fault, head.tree()) {
        (None, Some(mut edge)) if head.broken_at.is_none() => {
            if insert(tx, head.size)? {
                head.size += 1;
                grow(tx, &mut head, &mut edge, &[leaf])?;
                return head.save(tx);
            }
            Some(BEHIND)
        }
        (fault, _) => fault,
    };
    if let Some(why) = fault {
        head.break_at(tx, None, why)?;
    }
    let position = head::next_position(tx.conn, acting.org)?;
    if !insert(tx, position)? {
        return Err(Error::internal("the audit log has no room for another entry"));
    }
    head.size = position.saturating_add(1);
    head.save(tx)
}

/// Adds the hashes of new entries to the tree and stores the nodes that they complete.
pub fn grow(tx: &mut Tx<'_>, head: &mut HeadRow, edge: &mut Edge, leaves: &[Hash]) -> Result<()> {
    let mut completed = Vec::new();
    for leaf in leaves {
        edge.push(*leaf, |level, place, hash| completed.push((level, place, hash)));
    }
    for nodes in completed.chunks(500) {
        store_nodes(tx, head.org, nodes)?;
    }
    head.hashed = edge.size().cast_signed();
    head.edge = Some(edge.bytes());
    Ok(())
}

/// Writes nodes, replacing existing ones: these follow from an authentic edge.
fn store_nodes(tx: &mut Tx<'_>, org: OrgId, nodes: &[(u32, u64, Hash)]) -> Result<()> {
    let row = |(level, place, hash): &(u32, u64, Hash)| {
        (
            audit_nodes::org_id.eq(org),
            audit_nodes::level.eq(i16::try_from(*level).unwrap_or(i16::MAX)),
            audit_nodes::place.eq(place.cast_signed()),
            audit_nodes::hash.eq(hash.to_vec()),
        )
    };
    let key = (audit_nodes::org_id, audit_nodes::level, audit_nodes::place);
    match tx.conn {
        Conn::Postgres(c) => {
            diesel::insert_into(audit_nodes::table)
                .values(nodes.iter().map(row).collect::<Vec<_>>())
                .on_conflict(key)
                .do_update()
                .set(audit_nodes::hash.eq(excluded(audit_nodes::hash)))
                .execute(c)?;
        }
        // SQLite has no multi-row upsert in diesel, and needs no network round trips.
        Conn::Sqlite(c) => {
            for node in nodes {
                diesel::insert_into(audit_nodes::table)
                    .values(row(node))
                    .on_conflict(key)
                    .do_update()
                    .set(audit_nodes::hash.eq(excluded(audit_nodes::hash)))
                    .execute(c)?;
            }
        }
    }
    Ok(())
}

/// The action of the event and the text of its entry.
pub fn render(id: EventId, acting: &Acting, target: &str, event: &Event) -> Result<(String, String)> {
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
    let json = serde_json::to_value(&entry).map_err(Error::internal)?;
    let action = json["action"].as_str().unwrap_or_default().to_owned();
    Ok((action, serde_json::to_string(&entry).map_err(Error::internal)?))
}

/// All organisations, for work that is done for each.
pub fn orgs(conn: &mut crate::db::Conn) -> Result<Vec<(OrgId, String)>> {
    let rows = organizations::table.order(organizations::created_at);
    match rows.select((organizations::id, organizations::slug)).load(conn) {
        // Reads one row at a time to find the unreadable ones.
        Err(DieselError::DeserializationError(_)) => {
            let orgs: Vec<OrgId> = readable(rows.select(organizations::id).load(conn)?);
            let name = |org: OrgId| {
                let slug = organizations::table.find(org).select(organizations::slug);
                (org, slug.first(conn).unwrap_or_else(|_| org.to_string()))
            };
            Ok(orgs.into_iter().map(name).collect())
        }
        orgs => Ok(orgs?),
    }
}
