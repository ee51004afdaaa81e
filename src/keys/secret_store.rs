//! The rows of secrets: the current one of each key and those before it.

use diesel::prelude::*;

use crate::crypto::Keyring;
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::keys::secret::{Fingerprint, PlainSecret};
use crate::keys::{Key, Superseded};
use crate::schema::key_secrets;
use crate::time::Time;

/// The current secret of a key.
#[derive(Queryable)]
pub(super) struct SecretRow {
    prefix: String,
    last4: String,
    sha256_prefix: String,
    pub(super) made_at: Time,
}

/// The secret before the current one.
#[derive(Queryable)]
pub(super) struct SupersededRow {
    id: SecretId,
    prefix: String,
    last4: String,
    sha256_prefix: String,
    superseded_at: Option<Time>,
    superseded_by: Option<String>,
    ends_at: Option<Time>,
    own_end_at: Option<Time>,
    ended: bool,
}

impl SecretRow {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(&self.prefix, &self.last4, &self.sha256_prefix)
    }
}

impl SupersededRow {
    pub(super) fn read(self) -> Option<Superseded> {
        Some(Superseded {
            secret: self.id,
            fingerprint: Fingerprint::new(&self.prefix, &self.last4, &self.sha256_prefix),
            at: self.superseded_at?,
            by: self.superseded_by.unwrap_or_default(),
            ends_at: self.ends_at?,
            own_end_at: self.own_end_at,
            ended: self.ended,
        })
    }
}

/// Inserts the current secret of the key.
pub(super) fn insert(tx: &mut Tx<'_>, key: &Key, secret: &PlainSecret, keyring: &Keyring) -> Result<()> {
    let digest = secret.digest(&keyring.api_keys);
    diesel::insert_into(key_secrets::table)
        .values((
            key_secrets::id.eq(key.secret),
            key_secrets::org_id.eq(key.org),
            key_secrets::key_id.eq(key.id),
            key_secrets::digest.eq(digest.as_slice()),
            key_secrets::prefix.eq(secret.prefix()),
            key_secrets::last4.eq(secret.last4()),
            key_secrets::sha256_prefix.eq(&key.fingerprint.sha256_prefix),
            key_secrets::created_at.eq(key.secret_made_at),
            key_secrets::root.eq(keyring.root_tag().as_slice()),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Records that a secret was replaced, and until when it still works.
pub(super) fn supersede(tx: &mut Tx<'_>, org: OrgId, old: &Superseded) -> Result<()> {
    diesel::update(key_secrets::table)
        .filter(key_secrets::org_id.eq(org).and(key_secrets::id.eq(old.secret)))
        .set((
            key_secrets::superseded_at.eq(old.at),
            key_secrets::superseded_by.eq(&old.by),
            key_secrets::ends_at.eq(old.ends_at),
            key_secrets::own_end_at.eq(old.own_end_at),
            key_secrets::ended.eq(old.ended),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// A secret of a key, with when and from where it was used.
#[derive(Clone, Debug, Queryable)]
pub struct SecretUse {
    pub id: SecretId,
    /// Its last four characters.
    pub last4: String,
    pub created_at: Time,
    /// When a rotation replaced it.
    pub superseded_at: Option<Time>,
    /// The end of the overlap.
    pub ends_at: Option<Time>,
    /// Whether it was ended at once.
    pub ended: bool,
    pub first_used_at: Option<Time>,
    pub last_used_at: Option<Time>,
    pub last_address: Option<String>,
    /// The `User-Agent` of the last client.
    pub last_program: Option<String>,
}

/// The secrets of a key: the current one, then those before it, newest first.
pub fn uses(conn: &mut Conn, org: OrgId, id: KeyId) -> Result<Vec<SecretUse>> {
    let mut secrets: Vec<SecretUse> = key_secrets::table
        .filter(key_secrets::org_id.eq(org).and(key_secrets::key_id.eq(id)))
        .select((
            key_secrets::id,
            key_secrets::last4,
            key_secrets::created_at,
            key_secrets::superseded_at,
            key_secrets::ends_at,
            key_secrets::ended,
            key_secrets::first_used_at,
            key_secrets::last_used_at,
            key_secrets::last_address,
            key_secrets::last_program,
        ))
        .load(conn)?;
    secrets.sort_by_key(|secret| std::cmp::Reverse((secret.superseded_at.is_none(), secret.superseded_at)));
    Ok(secrets)
}

/// At most `most` keys of an organisation with an open rotation, soonest end of the overlap first.
pub fn rotating(conn: &mut Conn, org: OrgId, now: Time, most: i64) -> Result<Vec<KeyId>> {
    Ok(key_secrets::table
        .filter(key_secrets::org_id.eq(org).and(key_secrets::ends_at.gt(now)))
        .filter(key_secrets::ended.eq(false))
        .order((key_secrets::ends_at, key_secrets::id))
        .limit(most)
        .select(key_secrets::key_id)
        .load(conn)?)
}
