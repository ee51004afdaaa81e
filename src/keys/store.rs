//! The rows of keys. Every query starts from the organisation.

use diesel::prelude::*;

use crate::crypto::Keyring;
use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::secret::PlainSecret;
use crate::keys::secret_store::{self, SecretRow, SupersededRow};
use crate::keys::settings::KeySettings;
use crate::keys::{Contact, Disabled, Key, Revocation};
use crate::schema::{api_keys, key_secrets, people};
use crate::scope::Scopes;
use crate::text::{fold, fold_case};
use crate::time::{DAY, Time};

mod alias {
    diesel::alias!(crate::schema::people as backups: Backups);
    diesel::alias!(crate::schema::key_secrets as previous: Previous);
}
use alias::{backups, previous};

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
struct Row {
    id: KeyId,
    org_id: OrgId,
    name: String,
    description: String,
    scopes: String,
    created_by: String,
    created_at: Time,
    expires_at: Option<Time>,
    expiring_at: Option<Time>,
    disabled_at: Option<Time>,
    revoked_at: Option<Time>,
    revoked_by: Option<String>,
    revoke_reason: Option<String>,
    secret_id: SecretId,
    last_used_at: Option<Time>,
    end_changes: i64,
    disabled_by: Option<String>,
    disabled_by_admin: bool,
    #[diesel(embed)]
    settings: KeySettings,
    // Only read so that a key with an invalid reference is refused as unreadable.
    #[diesel(column_name = backup_id)]
    _backup_id: Option<UserId>,
    #[diesel(column_name = previous_secret_id)]
    _previous_secret_id: Option<SecretId>,
}

type ContactRow = (UserId, String, String);
type FullRow = (Row, SecretRow, Option<SupersededRow>, ContactRow, Option<ContactRow>);

fn key((row, secret, old, owner, backup): FullRow) -> Key {
    let revoked = row.revoked_at.map(|at| Revocation {
        at,
        by: row.revoked_by.unwrap_or_default(),
        reason: row.revoke_reason,
    });
    let disabled = row.disabled_at.map(|at| Disabled {
        at,
        by: row.disabled_by.unwrap_or_default(),
        by_admin: row.disabled_by_admin,
    });
    Key {
        id: row.id,
        org: row.org_id,
        name: row.name,
        description: row.description,
        scopes: Scopes::from_text(&row.scopes),
        owner: contact(owner),
        backup: backup.map(contact),
        answerers: Vec::new(),
        created_by: row.created_by,
        created_at: row.created_at,
        expires_at: row.expires_at,
        expiring_at: row.expiring_at,
        disabled,
        revoked,
        settings: row.settings,
        secret: row.secret_id,
        fingerprint: secret.fingerprint(),
        secret_made_at: secret.made_at,
        previous: old.and_then(SupersededRow::read),
        end_changes: row.end_changes,
        last_used_at: row.last_used_at,
    }
}

fn contact((id, email, name): ContactRow) -> Contact {
    Contact { id, email, name }
}

/// Keys joined with their secrets and contacts: the start of every query for whole keys.
macro_rules! full {
    () => {
        api_keys::table
            .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
            .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
            .left_join(backups.on(backups.field(people::id).nullable().eq(api_keys::backup_id)))
            .left_join(
                previous.on(previous.field(key_secrets::id).nullable().eq(api_keys::previous_secret_id)),
            )
            .select((
                Row::as_select(),
                (
                    key_secrets::prefix,
                    key_secrets::last4,
                    key_secrets::sha256_prefix,
                    key_secrets::created_at,
                ),
                (
                    previous.field(key_secrets::id),
                    previous.field(key_secrets::prefix),
                    previous.field(key_secrets::last4),
                    previous.field(key_secrets::sha256_prefix),
                    previous.field(key_secrets::superseded_at),
                    previous.field(key_secrets::superseded_by),
                    previous.field(key_secrets::ends_at),
                    previous.field(key_secrets::own_end_at),
                    previous.field(key_secrets::ended),
                )
                    .nullable(),
                (people::id, people::email, people::name),
                (backups.field(people::id), backups.field(people::email), backups.field(people::name))
                    .nullable(),
            ))
    };
}

/// Inserts a key and its first secret.
///
/// Errors: `NameTaken` if a key that has not ended has the same name.
pub fn insert(tx: &mut Tx<'_>, key: &Key, secret: &PlainSecret, keyring: &Keyring) -> Result<()> {
    let folded = fold(&key.name);
    give_up_expired_name(tx, key.org, &folded, key.created_at)?;
    diesel::insert_into(api_keys::table)
        .values((
            api_keys::id.eq(key.id),
            api_keys::org_id.eq(key.org),
            api_keys::name.eq(&key.name),
            api_keys::name_folded.eq(&folded),
            api_keys::live_name.eq(&folded),
            api_keys::description.eq(&key.description),
            api_keys::scopes.eq(key.scopes.text()),
            api_keys::owner_id.eq(key.owner.id),
            api_keys::backup_id.eq(key.backup.as_ref().map(|backup| backup.id)),
            api_keys::created_by.eq(&key.created_by),
            api_keys::created_at.eq(key.created_at),
            api_keys::expires_at.eq(key.expires_at),
            api_keys::expiring_at.eq(key.expiring_at),
            &key.settings,
            api_keys::secret_id.eq(key.secret),
            api_keys::notice_at.eq(notice_at(key)),
        ))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "api_keys_live_name", "api_keys.live_name") {
                Error::NameTaken(key.name.clone())
            } else {
                error.into()
            }
        })?;
    secret_store::insert(tx, key, secret, keyring)
}

/// An expired key loses its name when a new key takes it.
fn give_up_expired_name(tx: &mut Tx<'_>, org: OrgId, folded: &str, now: Time) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(
            api_keys::org_id.eq(org).and(api_keys::live_name.eq(folded)).and(api_keys::expires_at.le(now)),
        )
        .set(api_keys::live_name.eq(None::<String>))
        .execute(tx.conn)?;
    Ok(())
}

/// The key with this id.
pub fn find(conn: &mut Conn, org: OrgId, id: KeyId) -> Result<Option<Key>> {
    full!()
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .first(conn)
        .optional()?
        .map(|row| with_answerers(conn, key(row)))
        .transpose()
}

fn with_answerers(conn: &mut Conn, mut key: Key) -> Result<Key> {
    use crate::schema::service_answerers as s;
    let accounts = std::iter::once(&key.owner).chain(&key.backup).map(|contact| contact.id);
    key.answerers = s::table
        .filter(s::org_id.eq(key.org).and(s::account_id.eq_any(accounts)))
        .select(s::person_id)
        .load(conn)?;
    Ok(key)
}

/// The keys with these ids, in the same order.
pub fn by_ids(conn: &mut Conn, org: OrgId, ids: &[KeyId]) -> Result<Vec<Key>> {
    let rows: Vec<FullRow> =
        full!().filter(api_keys::org_id.eq(org).and(api_keys::id.eq_any(ids))).load(conn)?;
    let mut keys: Vec<Key> = rows.into_iter().map(key).collect();
    keys.sort_by_key(|key| ids.iter().position(|id| *id == key.id));
    Ok(keys)
}

/// The key with this id, locked until the transaction ends.
///
/// Errors: `NotFound`.
pub fn lock(tx: &mut Tx<'_>, org: OrgId, id: KeyId) -> Result<Key> {
    // On SQLite, the transaction has locked the whole database already.
    if let Conn::Postgres(conn) = tx.conn {
        api_keys::table
            .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
            .select(api_keys::id)
            .for_update()
            .first::<KeyId>(conn)
            .optional()?;
    }
    find(tx.conn, org, id)?.ok_or(Error::NotFound)
}

/// The organisation of a key, for links that contain only the key's id.
pub fn org_of(conn: &mut Conn, orgs: &[OrgId], id: KeyId) -> Result<Option<OrgId>> {
    Ok(api_keys::table
        .filter(api_keys::org_id.eq_any(orgs).and(api_keys::id.eq(id)))
        .select(api_keys::org_id)
        .first(conn)
        .optional()?)
}

/// Writes everything about a key that can change.
pub fn update(tx: &mut Tx<'_>, key: &Key) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(key.org).and(api_keys::id.eq(key.id)))
        .set((
            api_keys::description.eq(&key.description),
            api_keys::scopes.eq(key.scopes.text()),
            api_keys::owner_id.eq(key.owner.id),
            api_keys::backup_id.eq(key.backup.as_ref().map(|backup| backup.id)),
            api_keys::expires_at.eq(key.expires_at),
            api_keys::expiring_at.eq(key.expiring_at),
            api_keys::disabled_at.eq(key.disabled.as_ref().map(|disabled| disabled.at)),
            api_keys::disabled_by.eq(key.disabled.as_ref().map(|disabled| &disabled.by)),
            api_keys::disabled_by_admin.eq(key.disabled.as_ref().is_some_and(|disabled| disabled.by_admin)),
            &key.settings,
            api_keys::secret_id.eq(key.secret),
            api_keys::previous_secret_id.eq(key.previous.as_ref().map(|old| old.secret)),
            api_keys::end_changes.eq(key.end_changes),
            api_keys::notice_at.eq(notice_at(key)),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// When the notice sweep first has to look at a key: a day before the first step, since steps of a day
/// or more are sent up to a day early. Looking too early does no harm.
fn notice_at(key: &Key) -> Option<Time> {
    let end = key.expires_at?;
    Some(key.expiring_at.unwrap_or(end).plus(-DAY))
}

/// Marks a key as revoked and frees its name.
pub fn revoke(tx: &mut Tx<'_>, org: OrgId, id: KeyId, revocation: &Revocation) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .set((
            api_keys::revoked_at.eq(revocation.at),
            api_keys::revoked_by.eq(&revocation.by),
            api_keys::revoke_reason.eq(&revocation.reason),
            api_keys::live_name.eq(None::<String>),
            api_keys::notice_at.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// The key of that name that has not ended. A key that was named before names were folded as now may look like another
/// one, and is found by its exact name.
pub fn by_living_name(conn: &mut Conn, org: OrgId, name: &str, now: Time) -> Result<Option<Key>> {
    let name = name.trim();
    let mut found: Vec<FullRow> = full!()
        .filter(api_keys::org_id.eq(org).and(api_keys::live_name.eq_any([fold(name), fold_case(name)])))
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .load(conn)?;
    found.sort_by_key(|(row, ..)| row.name != name);
    Ok(found.into_iter().next().map(key))
}
