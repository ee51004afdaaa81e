//! Writes the expiry of keys and when their status becomes expiring.

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{api_keys, key_secrets};
use crate::time::Time;

/// The id, the creation of the current secret and the expiry of each key that has not ended and has an
/// expiry. Covers all organisations.
pub fn living_with_end(tx: &mut Tx<'_>, now: Time) -> Result<Vec<(KeyId, Time, Time)>> {
    let rows: Vec<(KeyId, Time, Option<Time>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.gt(now)))
        .select((api_keys::id, key_secrets::created_at, api_keys::expires_at))
        .load(tx.conn)?;
    Ok(rows.into_iter().filter_map(|(id, created, ends)| Some((id, created, ends?))).collect())
}

/// Sets the expiry of a key and when its status becomes expiring.
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

/// Sets when the status of a key becomes expiring.
pub fn set_expiring_at(tx: &mut Tx<'_>, id: KeyId, at: Option<Time>) -> Result<()> {
    // The next sweep looks at the key again, with the current notice steps.
    let marks = (api_keys::expiring_at.eq(at), api_keys::notice_at.eq(Time::from_seconds(0)));
    diesel::update(api_keys::table.find(id)).set(marks).execute(tx.conn)?;
    Ok(())
}

/// Records when a key's expiry was set. Notice steps that were past by then are skipped.
pub fn note_end_set(tx: &mut Tx<'_>, org: OrgId, id: KeyId, now: Time) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .set(api_keys::end_set_at.eq(now))
        .execute(tx.conn)?;
    Ok(())
}
