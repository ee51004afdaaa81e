//! Looks up the key of a presented secret: the one query that does not start from an organisation.

use std::collections::HashSet;

use diesel::prelude::*;

use crate::crypto::Digest;
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::settings::KeySettings;
use crate::keys::store;
use crate::orgs::policy::{self, Rights};
use crate::orgs::store as orgs;
use crate::people::store::lock_enabled;
use crate::role::Role;
use crate::schema::{api_keys, key_policies, key_secrets, members, organizations, people};
use crate::scope::Scopes;
use crate::time::Time;

/// The key of a presented secret, with everything that deciding about a request needs.
#[derive(Clone, Debug)]
pub struct PresentedKey {
    pub org: OrgId,
    pub org_slug: Box<str>,
    pub key: KeyId,
    /// The secret that was presented.
    pub secret: SecretId,
    pub name: Box<str>,
    /// The scopes of the key, before its owner's role and the policy restrict them.
    pub scopes: Scopes,
    pub expires_at: Option<Time>,
    /// The end of the overlap, if a rotation has replaced this secret; the Unix epoch if it was ended at once, which no
    /// clock may delay.
    pub superseded_until: Option<Time>,
    pub disabled: bool,
    pub revoked: bool,
    pub settings: KeySettings,
    pub owner: UserId,
    /// `None` if the owner is no longer a member, or they or their membership are disabled.
    pub owner_role: Option<Role>,
    /// What the organisation's policy allows keys of this owner.
    pub rights: Rights,
}

impl PresentedKey {
    /// When this secret stops working: at the key's expiry or at the end of the overlap, whichever is earlier.
    pub fn ends_at(&self) -> Option<Time> {
        self.expires_at.into_iter().chain(self.superseded_until).min()
    }
}

/// Those of the digests that belong to a secret in the database.
pub fn known(conn: &mut Conn, digests: &[Digest]) -> Result<HashSet<Digest>> {
    let wanted = digests.iter().map(<[u8; 32]>::as_slice);
    let rows: Vec<Vec<u8>> = key_secrets::table
        .filter(key_secrets::digest.eq_any(wanted))
        .select(key_secrets::digest)
        .load(conn)?;
    Ok(rows.into_iter().filter_map(|digest| Digest::try_from(digest).ok()).collect())
}

/// The columns of a [`PresentedKey`].
type Row = (
    (OrgId, String, KeyId, SecretId, Option<Time>, bool),
    (String, String, Option<Time>, Option<Time>, Option<Time>, UserId),
    KeySettings,
    (Option<Role>, Option<Time>, Option<Time>),
    Option<policy::store::Row>,
);

/// The joined selection that both lookups start from.
macro_rules! presented {
    ($filter:expr) => {
        key_secrets::table
            .inner_join(api_keys::table.on(api_keys::id.eq(key_secrets::key_id)))
            .inner_join(organizations::table.on(organizations::id.eq(key_secrets::org_id)))
            .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
            .left_join(
                members::table
                    .on(members::org_id.eq(api_keys::org_id).and(members::person_id.eq(api_keys::owner_id))),
            )
            .left_join(key_policies::table.on(key_policies::org_id.eq(api_keys::org_id)))
            .filter($filter)
            .select((
                (
                    key_secrets::org_id,
                    organizations::slug,
                    key_secrets::key_id,
                    key_secrets::id,
                    key_secrets::ends_at,
                    key_secrets::ended,
                ),
                (
                    api_keys::name,
                    api_keys::scopes,
                    api_keys::expires_at,
                    api_keys::disabled_at,
                    api_keys::revoked_at,
                    api_keys::owner_id,
                ),
                KeySettings::as_select(),
                (members::role.nullable(), members::disabled_at.nullable(), people::disabled_at),
                (key_policies::rules, key_policies::saved_at, key_policies::earlier, key_policies::until)
                    .nullable(),
            ))
    };
}

/// The key whose secret has this digest.
pub fn by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<PresentedKey>> {
    let found = presented!(key_secrets::digest.eq(digest.as_slice())).first(conn);
    only_readable(conn, found)
}

/// The key of this secret. The key and its owner's rights are locked until the transaction ends.
pub fn lock(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<PresentedKey>> {
    // On SQLite, the transaction has locked the whole database already.
    if let Conn::Postgres(conn) = tx.conn {
        // Ending a secret locks its key first, so locking the key covers both. The lock is exclusive:
        // requests that share a lock could keep a revocation of their key waiting forever.
        let ids = key_secrets::table.find(secret).select((key_secrets::org_id, key_secrets::key_id));
        let Some((org, key)) = ids.first::<(OrgId, KeyId)>(conn).optional()? else { return Ok(None) };
        let owner: UserId =
            api_keys::table.find(key).select(api_keys::owner_id).for_no_key_update().first(conn)?;
        orgs::lock_member_shared(tx, org, owner)?;
        lock_enabled(tx, owner)?;
        policy::store::lock_shared(tx, org)?;
    }
    let found = presented!(key_secrets::id.eq(secret)).first(tx.conn);
    only_readable(tx.conn, found)
}

/// The key of a row. `None` if the key or its owner cannot be read completely, because something other
/// than Keydesk changed their rows: no one could see or revoke such a key.
fn only_readable(conn: &mut Conn, found: QueryResult<Row>) -> Result<Option<PresentedKey>> {
    let read_whole = |row| {
        let presented = read(row)?;
        store::find(conn, presented.org, presented.key)?;
        Ok(presented)
    };
    let presented = found.optional().map_err(Error::from).and_then(|row| row.map(read_whole).transpose());
    match presented {
        Err(error) if error.is_unreadable() => {
            tracing::error!(cause = ?error, "refused an API key whose row cannot be read");
            Ok(None)
        }
        presented => presented,
    }
}

fn read(row: Row) -> Result<PresentedKey> {
    let (ids, row, settings, (role, member_disabled, owner_disabled), policy) = row;
    let (org, org_slug, key, secret, overlap_end, ended) = ids;
    let (name, scopes, expires_at, disabled_at, revoked_at, owner) = row;
    let owner_role = role.filter(|_| member_disabled.is_none() && owner_disabled.is_none());
    Ok(PresentedKey {
        org,
        org_slug: org_slug.into(),
        key,
        secret,
        name: name.into(),
        scopes: Scopes::from_text(&scopes),
        expires_at,
        superseded_until: if ended { Some(Time::from_seconds(0)) } else { overlap_end },
        disabled: disabled_at.is_some(),
        revoked: revoked_at.is_some(),
        settings,
        owner,
        owner_role,
        rights: policy::store::parse(policy)?.rights(owner_role),
    })
}
