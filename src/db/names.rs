//! Folds the names of keys again that were stored under earlier rules.
//!
//! The migration that lists them runs once; the first start after it empties the list. If two keys that have not ended
//! would get the same name, the one that already has it keeps it; otherwise the older one gets it. The other keeps its
//! former folded name, which no new name is equal to.

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{api_keys, names_to_fold};
use crate::text::fold;

/// How many names are read at once.
const STEP: i64 = 1_000;

type Row = (KeyId, OrgId, String, String, Option<String>);

/// Folds the listed names.
pub(super) fn refold(conn: &mut Conn) -> Result<()> {
    loop {
        let rows: Vec<Row> = names_to_fold::table
            .inner_join(api_keys::table.on(api_keys::id.eq(names_to_fold::key_id)))
            .order(names_to_fold::key_id)
            .limit(STEP)
            .select((
                api_keys::id,
                api_keys::org_id,
                api_keys::name,
                api_keys::name_folded,
                api_keys::live_name,
            ))
            .load(conn)?;
        let Some((last, ..)) = rows.last() else { break };
        let last = *last;
        for row in &rows {
            refold_key(conn, row)?;
        }
        diesel::delete(names_to_fold::table.filter(names_to_fold::key_id.le(last))).execute(conn)?;
    }
    Ok(())
}

fn refold_key(conn: &mut Conn, (id, org, name, before, live): &Row) -> Result<()> {
    let folded = fold(name);
    if folded == *before {
        return Ok(());
    }
    diesel::update(api_keys::table.find(id)).set(api_keys::name_folded.eq(&folded)).execute(conn)?;
    if live.is_none() {
        return Ok(());
    }
    let taken = api_keys::org_id.eq(org).and(api_keys::live_name.eq(&folded));
    let taken: Option<KeyId> = api_keys::table.filter(taken).select(api_keys::id).first(conn).optional()?;
    match taken {
        None => {
            diesel::update(api_keys::table.find(id)).set(api_keys::live_name.eq(&folded)).execute(conn)?;
        }
        Some(other) => tracing::warn!(
            key = %id,
            other = %other,
            "two keys of an organisation have names that look the same; revoke one, or tell them apart by their ids"
        ),
    }
    Ok(())
}
