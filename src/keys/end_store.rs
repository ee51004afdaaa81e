//! Writing when keys end, and from when they count as expiring.

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{api_keys, key_secrets};
use crate::time::Time;

/// A living key's id, making and end, for marking it as expiring again.
pub fn living_with_end(tx: &mut Tx<'_>, now: Time) -> Result<Vec<(KeyId, Time, Time)>> {
    let rows: Vec<(KeyId, Time, Option<Time>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.gt(now)))
        .select((api_keys::id, key_secrets::created_at, api_keys::expires_at))
        .load(tx.conn)?;
    Ok(rows.into_iter().filter_map(|(id, created, ends)| Some((id, created, ends?))).collect())
}

/// Writes when a key ends and from when it counts as expiring.
pub fn set_end(
    tx: &mut Tx<'_>,
    org: OrgId,
    id: KeyId,
    ends: Option<Time>,
    expiring_at: Option<Time>,
) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .set((
            api_keys::expires_at.eq(ends),
            api_keys::expiring_at.eq(expiring_at),
            api_keys::end_changes.eq(api_keys::end_changes + 1),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Marks from when a key counts as expiring.
pub fn set_expiring_at(tx: &mut Tx<'_>, id: KeyId, at: Option<Time>) -> Result<()> {
    // Looked at soon, by the steps of now.
    let marks = (api_keys::expiring_at.eq(at), api_keys::notice_at.eq(Time::from_seconds(0)));
    diesel::update(api_keys::table.find(id)).set(marks).execute(tx.conn)?;
    Ok(())
}

/// Notes since when a key's end stands, so that steps which were past then don't count.
pub fn note_end_set(tx: &mut Tx<'_>, org: OrgId, id: KeyId, now: Time) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .set(api_keys::end_set_at.eq(now))
        .execute(tx.conn)?;
    Ok(())
}
