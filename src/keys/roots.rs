//! The root secret under which each digest was made, while the root secret is being replaced. A digest can
//! only be recomputed from the key's secret, so that happens when a key is used.

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::crypto::{Keyring, RootTag};
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::OrgId;
use crate::keys::feed;
use crate::keys::lookup::PresentedKey;
use crate::keys::secret::PlainSecret;
use crate::schema::{api_keys, key_secrets};
use crate::time::Time;

/// Counts the working secrets that match a filter, of one organisation or of all.
macro_rules! count {
    ($conn:expr, $now:expr, $org:expr, $filter:expr) => {{
        let mut query = key_secrets::table
            .inner_join(api_keys::table.on(api_keys::id.eq(key_secrets::key_id)))
            .filter(key_secrets::ended.eq(false))
            .filter(key_secrets::ends_at.is_null().or(key_secrets::ends_at.gt($now)))
            .filter(api_keys::revoked_at.is_null())
            .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt($now)))
            .filter($filter)
            .select(count_star())
            .into_boxed();
        if let Some(org) = $org {
            query = query.filter(key_secrets::org_id.eq(org));
        }
        query.first::<i64>($conn)?
    }};
}

/// Recomputes the digest of a secret under the current root secret, unless the database has moved on to
/// another one.
pub fn redigest(
    tx: &mut Tx<'_>,
    keyring: &Keyring,
    key: &PresentedKey,
    secret: &PlainSecret,
    now: Time,
) -> Result<()> {
    let root = keyring.root_tag();
    if feed::head(tx.conn)?.root.is_some_and(|current| current != root) {
        return Ok(());
    }
    diesel::update(key_secrets::table.find(key.secret))
        .set((
            key_secrets::digest.eq(secret.digest(&keyring.api_keys).as_slice()),
            key_secrets::root.eq(root.as_slice()),
        ))
        .execute(tx.conn)?;
    // A process that has looked up the new digest before remembers it as unknown.
    feed::publish(tx, key.org, key.key, now)
}

/// Records the root secret of digests that older versions wrote without one: it is the one that was in use
/// before this start.
pub fn note_unknown(tx: &mut Tx<'_>, root: RootTag) -> Result<()> {
    diesel::update(key_secrets::table.filter(key_secrets::root.is_null()))
        .set(key_secrets::root.eq(root.as_slice()))
        .execute(tx.conn)?;
    Ok(())
}

/// Counts the working secrets that need a root secret other than this one, of one organisation or of all.
pub fn under_others(conn: &mut Conn, own: RootTag, org: Option<OrgId>, now: Time) -> Result<i64> {
    Ok(under_none_of(conn, [own, own], org, now)? + count!(conn, now, org, key_secrets::root.is_null()))
}

/// Counts the working secrets that need a root secret other than these two.
pub fn under_none_of(conn: &mut Conn, mut roots: [RootTag; 2], org: Option<OrgId>, now: Time) -> Result<i64> {
    roots.sort_unstable();
    // Ranges of the index, which are nearly empty most of the time.
    let (first, last) = (roots[0].as_slice(), roots[1].as_slice());
    Ok(count!(conn, now, org, key_secrets::root.lt(first))
        + count!(conn, now, org, key_secrets::root.gt(first).and(key_secrets::root.lt(last)))
        + count!(conn, now, org, key_secrets::root.gt(last)))
}

/// Counts the working secrets, of one organisation or of all.
pub fn working(conn: &mut Conn, org: Option<OrgId>, now: Time) -> Result<i64> {
    Ok(count!(conn, now, org, key_secrets::id.is_not_null()))
}
