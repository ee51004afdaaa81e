//! What the log says of one thing.

use diesel::prelude::*;

use crate::audit::entry::Said;
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::schema::audit_entries as entries;

/// The latest entries about `target`, the latest first.
pub fn latest(conn: &mut Conn, org: OrgId, target: &str, most: i64) -> Result<Vec<Said>> {
    let texts: Vec<String> = entries::table
        .filter(entries::org_id.eq(org).and(entries::target.eq(target)))
        .order(entries::position.desc())
        .select(entries::entry)
        .limit(most)
        .load(conn)?;
    texts.iter().map(|text| serde_json::from_str(text).map_err(Error::internal)).collect()
}
