//! Rows of secrets: the one that a key has now and those before it.

use diesel::prelude::*;

use crate::crypto::Keyring;
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::keys::secret::{Fingerprint, PlainSecret};
use crate::keys::{Key, Superseded};
use crate::schema::key_secrets;
use crate::time::Time;

/// A secret as far as a key shows it.
#[derive(Queryable)]
pub(super) struct SecretRow {
    prefix: String,
    last4: String,
    sha256_prefix: String,
    pub(super) made_at: Time,
}

/// A secret before the one of now.
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
        })
    }
}

/// Adds the secret that the key has now.
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

/// Writes that another secret has taken the place of this one, and until when it still works.
pub(super) fn supersede(tx: &mut Tx<'_>, org: OrgId, old: &Superseded) -> Result<()> {
    diesel::update(key_secrets::table)
        .filter(key_secrets::org_id.eq(org).and(key_secrets::id.eq(old.secret)))
        .set((
            key_secrets::superseded_at.eq(old.at),
            key_secrets::superseded_by.eq(&old.by),
            key_secrets::ends_at.eq(old.ends_at),
            key_secrets::own_end_at.eq(old.own_end_at),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// A secret of a key with its use.
#[derive(Clone, Debug, Queryable)]
pub struct SecretUse {
    /// Which.
    pub id: SecretId,
    /// Its last four characters.
    pub last4: String,
    /// Since when.
    pub created_at: Time,
    /// Since when another has its place.
    pub superseded_at: Option<Time>,
    /// Until when it works beside the other.
    pub ends_at: Option<Time>,
    /// When it was first used.
    pub first_used_at: Option<Time>,
    /// When it was last used.
    pub last_used_at: Option<Time>,
    /// From where it was last used.
    pub last_address: Option<String>,
    /// By which program, as it called itself.
    pub last_program: Option<String>,
}

/// The secrets of a key: the one of now, then those before it, the latest first.
pub fn uses(conn: &mut Conn, org: OrgId, id: KeyId) -> Result<Vec<SecretUse>> {
    let mut secrets: Vec<SecretUse> = key_secrets::table
        .filter(key_secrets::org_id.eq(org).and(key_secrets::key_id.eq(id)))
        .select((
            key_secrets::id,
            key_secrets::last4,
            key_secrets::created_at,
            key_secrets::superseded_at,
            key_secrets::ends_at,
            key_secrets::first_used_at,
            key_secrets::last_used_at,
            key_secrets::last_address,
            key_secrets::last_program,
        ))
        .load(conn)?;
    secrets.sort_by_key(|secret| std::cmp::Reverse((secret.superseded_at.is_none(), secret.superseded_at)));
    Ok(secrets)
}

/// The keys of an organisation of which an old secret still works, soonest end first.
pub fn rotating(conn: &mut Conn, org: OrgId, now: Time, most: i64) -> Result<Vec<KeyId>> {
    Ok(key_secrets::table
        .filter(key_secrets::org_id.eq(org).and(key_secrets::ends_at.gt(now)))
        .order((key_secrets::ends_at, key_secrets::id))
        .limit(most)
        .select(key_secrets::key_id)
        .load(conn)?)
}
