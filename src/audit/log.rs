//! Appending to the log.

use diesel::prelude::*;
use serde::Serialize;

use crate::audit::event::{Context, Event};
use crate::db::{Tx, each};
use crate::error::{Error, Result};
use crate::id::EventId;
use crate::schema::{audit_entries, audit_heads};
use crate::time::Time;

/// The text of an entry, in the order of its members.
#[derive(Serialize)]
struct Entry<'a> {
    id: EventId,
    at: Time,
    organization: crate::id::OrgId,
    actor: crate::audit::event::Actor,
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
/// Call it late in the transaction: it takes the next index from a row that stays locked
/// until the commit, so that indexes have neither gaps nor another order than commits.
pub fn append(tx: &mut Tx<'_>, context: &Context, target: &str, event: &Event) -> Result<()> {
    let id = EventId::new(context.now);
    let entry = Entry {
        id,
        at: context.now,
        organization: context.org,
        actor: context.actor,
        target,
        event,
        address: context.address.as_deref(),
        request_id: context.request.as_deref(),
    };
    let text = serde_json::to_value(&entry).map_err(Error::internal)?;
    let action = text["action"].as_str().unwrap_or_default().to_owned();
    let text = serde_json::to_string(&entry).map_err(Error::internal)?;
    let position = next_position(tx, context)?;
    diesel::insert_into(audit_entries::table)
        .values((
            audit_entries::org_id.eq(context.org),
            audit_entries::position.eq(position),
            audit_entries::id.eq(id),
            audit_entries::at.eq(context.now),
            audit_entries::actor.eq(context.actor.to_string()),
            audit_entries::action.eq(action),
            audit_entries::target.eq(target),
            audit_entries::entry.eq(text),
        ))
        .execute(tx.conn)?;
    Ok(())
}

fn next_position(tx: &mut Tx<'_>, context: &Context) -> Result<i64> {
    let size: i64 = each!(tx.conn, |c| {
        diesel::insert_into(audit_heads::table)
            .values((audit_heads::org_id.eq(context.org), audit_heads::size.eq(1_i64)))
            .on_conflict(audit_heads::org_id)
            .do_update()
            .set(audit_heads::size.eq(audit_heads::size + 1))
            .returning(audit_heads::size)
            .get_result(c)
    })?;
    Ok(size - 1)
}
