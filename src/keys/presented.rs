//! The look-up of a presented secret: the one query that starts from no organisation.

use std::collections::HashSet;

use diesel::prelude::*;
use ipnet::IpNet;

use crate::crypto::Digest;
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::store::{self, networks};
use crate::orgs::policy::{self, Rights};
use crate::orgs::store as orgs;
use crate::people::store::hold_enabled;
use crate::role::Role;
use crate::schema::{api_keys, key_policies, key_secrets, members, organizations, people};
use crate::scope::Scopes;
use crate::time::Time;

/// A key as far as checking a presented secret needs it.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The organisation.
    pub org: OrgId,
    /// The organisation's slug.
    pub org_slug: Box<str>,
    /// The key.
    pub key: KeyId,
    /// The secret that was presented.
    pub secret: SecretId,
    /// The key's name.
    pub name: Box<str>,
    /// What the key holds.
    pub scopes: Scopes,
    /// When the key ends.
    pub expires_at: Option<Time>,
    /// Until when this secret works, if another has taken its place.
    pub superseded_until: Option<Time>,
    /// Whether it is set aside.
    pub disabled: bool,
    /// Whether it was ended.
    pub revoked: bool,
    /// Requests a minute.
    pub requests_per_minute: u32,
    /// Networks it may be used from; none is any.
    pub allowed_ips: Box<[IpNet]>,
    /// Who answers for it.
    pub owner: UserId,
    /// The owner's role now; `None` when they are no member any more, or they or their
    /// membership are disabled.
    pub owner_role: Option<Role>,
    /// The most that the organisation's policy lets keys of this owner have.
    pub rights: Rights,
}

impl Presented {
    /// When this secret stops working: with its key, or before where another has taken its place.
    pub fn ends_at(&self) -> Option<Time> {
        self.expires_at.into_iter().chain(self.superseded_until).min()
    }
}

/// Which of these digests are those of keys' secrets.
pub fn known(conn: &mut Conn, digests: &[Digest]) -> Result<HashSet<Digest>> {
    let wanted = digests.iter().map(<[u8; 32]>::as_slice);
    let rows: Vec<Vec<u8>> = key_secrets::table
        .filter(key_secrets::digest.eq_any(wanted))
        .select(key_secrets::digest)
        .load(conn)?;
    Ok(rows.into_iter().filter_map(|digest| Digest::try_from(digest).ok()).collect())
}

/// The columns of a presented key.
type Row = (
    (OrgId, String, KeyId, SecretId, Option<Time>),
    (String, String, Option<Time>, Option<Time>, Option<Time>, i64, String, UserId),
    (Option<Role>, Option<Time>, Option<Time>),
    Option<policy::store::Row>,
);

/// The joined selection that both look-ups start from.
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
                ),
                (
                    api_keys::name,
                    api_keys::scopes,
                    api_keys::expires_at,
                    api_keys::disabled_at,
                    api_keys::revoked_at,
                    api_keys::requests_per_minute,
                    api_keys::allowed_ips,
                    api_keys::owner_id,
                ),
                (members::role.nullable(), members::disabled_at.nullable(), people::disabled_at),
                (key_policies::rules, key_policies::saved_at, key_policies::earlier, key_policies::until)
                    .nullable(),
            ))
    };
}

/// The key whose secret has this digest.
pub fn by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<Presented>> {
    let found = presented!(key_secrets::digest.eq(digest.as_slice())).first(conn);
    manageable(conn, found)
}

/// The key of this secret. It and its owner's rights stay as they are until the transaction ends.
pub fn hold(tx: &mut Tx<'_>, secret: SecretId) -> Result<Option<Presented>> {
    // SQLite's transaction has locked everything already.
    if let Conn::Postgres(conn) = tx.conn {
        // Ending a secret locks its key first, so the key stands for both. The lock is exclusive: requests
        // that share one could keep a revocation of their key waiting for ever.
        let ids = key_secrets::table.find(secret).select((key_secrets::org_id, key_secrets::key_id));
        let Some((org, key)) = ids.first::<(OrgId, KeyId)>(conn).optional()? else { return Ok(None) };
        let owner: UserId =
            api_keys::table.find(key).select(api_keys::owner_id).for_no_key_update().first(conn)?;
        orgs::hold_member(tx, org, owner)?;
        hold_enabled(tx, owner)?;
        policy::store::hold(tx, org)?;
    }
    let found = presented!(key_secrets::id.eq(secret)).first(tx.conn);
    manageable(tx.conn, found)
}

/// The key of a row. One that can't be read whole, because its row or its owner's was changed by
/// something other than Keydesk, is none: nobody could look at it or revoke it.
fn manageable(conn: &mut Conn, found: QueryResult<Row>) -> Result<Option<Presented>> {
    let read_whole = |row| {
        let presented = read(row)?;
        store::find(conn, presented.org, presented.key)?;
        Ok(presented)
    };
    let presented = found.optional().map_err(Error::from).and_then(|row| row.map(read_whole).transpose());
    match presented {
        Err(error) if error.is_unreadable() => {
            tracing::error!(cause = ?error, "an API key whose row can't be read was presented and refused");
            Ok(None)
        }
        presented => presented,
    }
}

fn read(row: Row) -> Result<Presented> {
    let (ids, row, (role, set_aside, owner_disabled), policy) = row;
    let (org, org_slug, key, secret, superseded_until) = ids;
    let (name, scopes, expires_at, disabled_at, revoked_at, rpm, allowed_ips, owner) = row;
    let owner_role = role.filter(|_| set_aside.is_none() && owner_disabled.is_none());
    Ok(Presented {
        org,
        org_slug: org_slug.into(),
        key,
        secret,
        name: name.into(),
        scopes: Scopes::from_text(&scopes),
        expires_at,
        superseded_until,
        disabled: disabled_at.is_some(),
        revoked: revoked_at.is_some(),
        requests_per_minute: store::limit(rpm)?,
        allowed_ips: networks(&allowed_ips)?.into(),
        owner,
        owner_role,
        rights: policy::store::parse(policy)?.rights(owner_role),
    })
}
