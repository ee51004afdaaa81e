//! Looks up names of keys, for pages and exports about something else.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::schema::{api_keys, people};

/// The name of a key and its owner.
pub struct Named {
    pub name: String,
    pub owner: UserId,
    pub owner_email: String,
}

/// The names of keys and their owners.
pub fn with_owners(conn: &mut Conn, org: OrgId, ids: &[KeyId]) -> Result<HashMap<KeyId, Named>> {
    let mut names = HashMap::new();
    for ids in ids.chunks(500) {
        let rows: Vec<(KeyId, String, UserId, String)> = api_keys::table
            .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
            .filter(api_keys::org_id.eq(org).and(api_keys::id.eq_any(ids)))
            .select((api_keys::id, api_keys::name, people::id, people::email))
            .load(conn)?;
        let named = |(id, name, owner, owner_email)| (id, Named { name, owner, owner_email });
        names.extend(rows.into_iter().map(named));
    }
    Ok(names)
}

/// The names of keys.
pub fn of(conn: &mut Conn, org: OrgId, ids: &[KeyId]) -> Result<HashMap<KeyId, String>> {
    let mut names = HashMap::new();
    for ids in ids.chunks(500) {
        let rows: Vec<(KeyId, String)> = api_keys::table
            .filter(api_keys::org_id.eq(org).and(api_keys::id.eq_any(ids)))
            .select((api_keys::id, api_keys::name))
            .load(conn)?;
        names.extend(rows);
    }
    Ok(names)
}
