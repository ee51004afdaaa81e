//! Under which root secret the digests of secrets are, while it is being replaced. Only with the secret
//! itself can a digest be made anew, so that happens when a key is used.

use diesel::dsl::count_star;
use diesel::prelude::*;

use crate::crypto::{Keyring, RootTag};
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{OrgId, SecretId};
use crate::keys::secret::PlainSecret;
use crate::schema::{api_keys, key_secrets};
use crate::time::Time;

/// Counts secrets that work now and pass a filter, of one organisation or of all.
macro_rules! count {
    ($conn:expr, $now:expr, $org:expr, $filter:expr) => {{
        let mut query = key_secrets::table
            .inner_join(api_keys::table.on(api_keys::id.eq(key_secrets::key_id)))
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

/// Makes the digest of a secret anew under the root secret of now.
pub fn redigest(tx: &mut Tx<'_>, keyring: &Keyring, id: SecretId, secret: &PlainSecret) -> Result<()> {
    diesel::update(key_secrets::table.find(id))
        .set((
            key_secrets::digest.eq(secret.digest(&keyring.api_keys).as_slice()),
            key_secrets::root.eq(keyring.root_tag().as_slice()),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Notes the root secret of digests of versions that noted none: they are under the one that was in
/// force before this start.
pub fn note_unknown(tx: &mut Tx<'_>, root: RootTag) -> Result<()> {
    diesel::update(key_secrets::table.filter(key_secrets::root.is_null()))
        .set(key_secrets::root.eq(root.as_slice()))
        .execute(tx.conn)?;
    Ok(())
}

/// How many secrets that work now would not work without a root secret other than this one, of one
/// organisation or of all.
pub fn under_others(conn: &mut Conn, own: RootTag, org: Option<OrgId>, now: Time) -> Result<i64> {
    // Stretches of the index, which hold hardly any row most of the time.
    let own = own.as_slice();
    Ok(count!(conn, now, org, key_secrets::root.lt(own))
        + count!(conn, now, org, key_secrets::root.gt(own))
        + count!(conn, now, org, key_secrets::root.is_null()))
}

/// How many secrets work now, of one organisation or of all.
pub fn working(conn: &mut Conn, org: Option<OrgId>, now: Time) -> Result<i64> {
    Ok(count!(conn, now, org, key_secrets::id.is_not_null()))
}
