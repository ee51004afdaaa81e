//! The feed of changes: every change of a key takes the next position, so that other
//! processes learn of it in the order of commits.

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::schema::{feed_head, key_changes};
use crate::time::Time;

/// Notes that a key has changed. Call it last: the head's row stays locked until the commit.
pub fn publish(tx: &mut Tx<'_>, org: OrgId, key: KeyId, now: Time) -> Result<()> {
    let position: i64 = diesel::update(feed_head::table)
        .set(feed_head::position.eq(feed_head::position + 1))
        .returning(feed_head::position)
        .get_result(tx.conn)?;
    diesel::insert_into(key_changes::table)
        .values((
            key_changes::position.eq(position),
            key_changes::org_id.eq(org),
            key_changes::key_id.eq(key),
            key_changes::at.eq(now),
        ))
        .execute(tx.conn)?;
    Ok(())
}
