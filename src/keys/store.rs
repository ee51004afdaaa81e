//! Rows of keys and their secrets. Every query starts from the organisation, the look-up by
//! digest alone excepted.

use diesel::prelude::*;
use ipnet::IpNet;

use crate::crypto::Digest;
use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::keys::name::fold;
use crate::keys::secret::{Fingerprint, PlainSecret, SHA256_DIGITS};
use crate::keys::{Contact, Key, Revocation, Status};
use crate::orgs::role::Role;
use crate::schema::{api_keys, key_secrets, members, people};
use crate::scope::{Scope, Scopes};
use crate::time::Time;

mod alias {
    #![allow(missing_docs, reason = "the macro makes items that it gives no docs")]
    diesel::alias!(crate::schema::people as backups: Backups);
}
use alias::backups;

#[derive(Queryable)]
struct Row {
    id: KeyId,
    org_id: OrgId,
    name: String,
    _name_folded: String,
    _live_name: Option<String>,
    description: String,
    scopes: String,
    _owner_id: UserId,
    _backup_id: Option<UserId>,
    created_by: String,
    created_at: Time,
    expires_at: Option<Time>,
    expiring_at: Option<Time>,
    disabled_at: Option<Time>,
    revoked_at: Option<Time>,
    revoked_by: Option<String>,
    revoke_reason: Option<String>,
    requests_per_minute: i64,
    allowed_ips: String,
    self_rotate: bool,
    secret_id: SecretId,
    last_used_at: Option<Time>,
}

type ContactRow = (UserId, String, String);
type FullRow = (Row, (String, String, String), ContactRow, Option<ContactRow>);

fn key((row, (prefix, last4, sha256), owner, backup): FullRow) -> Result<Key> {
    let revoked = row.revoked_at.map(|at| Revocation {
        at,
        by: row.revoked_by.unwrap_or_default(),
        reason: row.revoke_reason,
    });
    Ok(Key {
        id: row.id,
        org: row.org_id,
        name: row.name,
        description: row.description,
        scopes: Scopes::from_text(&row.scopes),
        owner: contact(owner),
        backup: backup.map(contact),
        created_by: row.created_by,
        created_at: row.created_at,
        expires_at: row.expires_at,
        expiring_at: row.expiring_at,
        disabled_at: row.disabled_at,
        revoked,
        requests_per_minute: u32::try_from(row.requests_per_minute).map_err(Error::internal)?,
        allowed_ips: networks(&row.allowed_ips)?,
        self_rotate: row.self_rotate,
        secret: row.secret_id,
        fingerprint: Fingerprint::new(&prefix, &last4, &sha256),
        last_used_at: row.last_used_at,
    })
}

fn contact((id, email, name): ContactRow) -> Contact {
    Contact { id, email, name }
}

fn networks(text: &str) -> Result<Vec<IpNet>> {
    text.split_whitespace().map(|network| network.parse().map_err(Error::internal)).collect()
}

fn networks_text(networks: &[IpNet]) -> String {
    networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ")
}

/// The joined selection that every query for whole keys starts from.
macro_rules! full {
    () => {
        api_keys::table
            .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
            .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
            .left_join(backups.on(backups.field(people::id).nullable().eq(api_keys::backup_id)))
            .select((
                api_keys::all_columns,
                (key_secrets::prefix, key_secrets::last4, key_secrets::sha256_prefix),
                (people::id, people::email, people::name),
                (backups.field(people::id), backups.field(people::email), backups.field(people::name))
                    .nullable(),
            ))
    };
}

/// Adds a key and its first secret. `NameTaken` when a living key has the name.
pub fn insert(tx: &mut Tx<'_>, key: &Key, secret: &PlainSecret, digest: Digest) -> Result<()> {
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
            api_keys::requests_per_minute.eq(i64::from(key.requests_per_minute)),
            api_keys::allowed_ips.eq(networks_text(&key.allowed_ips)),
            api_keys::self_rotate.eq(key.self_rotate),
            api_keys::secret_id.eq(key.secret),
        ))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "api_keys_live_name", "api_keys.live_name") {
                Error::NameTaken(key.name.clone())
            } else {
                error.into()
            }
        })?;
    diesel::insert_into(key_secrets::table)
        .values((
            key_secrets::id.eq(key.secret),
            key_secrets::org_id.eq(key.org),
            key_secrets::key_id.eq(key.id),
            key_secrets::digest.eq(digest.as_slice()),
            key_secrets::prefix.eq(secret.prefix()),
            key_secrets::last4.eq(secret.last4()),
            key_secrets::sha256_prefix.eq(&key.fingerprint.sha256_prefix),
            key_secrets::created_at.eq(key.created_at),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// An expired key holds its name only until another wants it.
fn give_up_expired_name(tx: &mut Tx<'_>, org: OrgId, folded: &str, now: Time) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(
            api_keys::org_id.eq(org).and(api_keys::live_name.eq(folded)).and(api_keys::expires_at.le(now)),
        )
        .set(api_keys::live_name.eq(None::<String>))
        .execute(tx.conn)?;
    Ok(())
}

/// The key of that id.
pub fn find(conn: &mut Conn, org: OrgId, id: KeyId) -> Result<Option<Key>> {
    full!()
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .first(conn)
        .optional()?
        .map(key)
        .transpose()
}

/// The key of that id, locked until the transaction ends. `NotFound` when there is none.
pub fn lock(tx: &mut Tx<'_>, org: OrgId, id: KeyId) -> Result<Key> {
    // SQLite's transaction has locked everything already.
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

/// The organisation that a key belongs to, for links that name the key alone.
pub fn org_of(conn: &mut Conn, orgs: &[OrgId], id: KeyId) -> Result<Option<OrgId>> {
    Ok(api_keys::table
        .filter(api_keys::org_id.eq_any(orgs).and(api_keys::id.eq(id)))
        .select(api_keys::org_id)
        .first(conn)
        .optional()?)
}

/// Writes what can change of a living key.
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
            api_keys::disabled_at.eq(key.disabled_at),
            api_keys::requests_per_minute.eq(i64::from(key.requests_per_minute)),
            api_keys::allowed_ips.eq(networks_text(&key.allowed_ips)),
            api_keys::self_rotate.eq(key.self_rotate),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Ends a key for good and frees its name.
pub fn revoke(tx: &mut Tx<'_>, org: OrgId, id: KeyId, revocation: &Revocation) -> Result<()> {
    diesel::update(api_keys::table)
        .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
        .set((
            api_keys::revoked_at.eq(revocation.at),
            api_keys::revoked_by.eq(&revocation.by),
            api_keys::revoke_reason.eq(&revocation.reason),
            api_keys::live_name.eq(None::<String>),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Which keys a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these; `Active` includes expiring ones.
    pub status: Option<Status>,
    /// Only those that hold the scope.
    pub scope: Option<Scope>,
    /// Only those of this owner.
    pub owner: Option<UserId>,
    /// Only those of which a name part, the last four, the fingerprint or the id is this.
    pub search: Option<String>,
    /// Only those whose SHA-256 begins with these hexadecimal digits.
    pub fingerprint: Option<String>,
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Soonest end first, ended keys last.
    #[default]
    Expires,
    /// By name.
    Name,
    /// Last used first.
    LastUsed,
    /// Newest first.
    Created,
}

/// A part of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// How many to leave out before.
    pub offset: i64,
    /// How many at most.
    pub limit: i64,
    /// Whether the order is turned round.
    pub reversed: bool,
}

/// The filter as a condition on the joined tables.
macro_rules! narrow {
    ($query:expr, $org:expr, $filter:expr, $now:expr) => {{
        let mut query = $query.filter(api_keys::org_id.eq($org)).into_boxed();
        let now = $now;
        let never = api_keys::expires_at.is_null();
        let living = api_keys::revoked_at.is_null().and(never.or(api_keys::expires_at.gt(now)));
        match $filter.status {
            None => {}
            Some(Status::Active) => query = query.filter(living.and(api_keys::disabled_at.is_null())),
            Some(Status::Expiring) => {
                query = query
                    .filter(living.and(api_keys::disabled_at.is_null()).and(api_keys::expiring_at.le(now)));
            }
            Some(Status::Disabled) => query = query.filter(living.and(api_keys::disabled_at.is_not_null())),
            Some(Status::Expired) => {
                query = query.filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.le(now)));
            }
            Some(Status::Revoked) => query = query.filter(api_keys::revoked_at.is_not_null()),
        }
        if let Some(scope) = $filter.scope {
            query = query.filter(api_keys::scopes.like(format!("%{}%", scope.name())));
        }
        if let Some(owner) = $filter.owner {
            query = query.filter(api_keys::owner_id.eq(owner));
        }
        if let Some(digits) = &$filter.fingerprint {
            let digits: String = digits.to_lowercase().chars().take(SHA256_DIGITS).collect();
            query = query.filter(key_secrets::sha256_prefix.like(format!("{digits}%")));
        }
        if let Some(search) = $filter.search.as_deref().map(Search::new) {
            let by_name = api_keys::name_folded.like(search.name).escape('\\');
            let by_last4 = key_secrets::last4.eq(search.last4);
            let by_digits = key_secrets::sha256_prefix.like(search.digits);
            query = match search.id {
                Some(id) => query.filter(by_name.or(by_last4).or(by_digits).or(api_keys::id.eq(id))),
                None => query.filter(by_name.or(by_last4).or(by_digits)),
            };
        }
        query
    }};
}

/// A search text as the patterns it stands for.
struct Search {
    name: String,
    last4: String,
    digits: String,
    id: Option<KeyId>,
}

impl Search {
    fn new(text: &str) -> Search {
        let text = text.trim();
        let escaped = fold(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let is_digest = (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits: String = text.to_lowercase().chars().take(SHA256_DIGITS).collect();
        Search {
            name: format!("%{escaped}%"),
            // A copied hint, `kd_…x9Ka`, counts as its last four.
            last4: text.rsplit('…').next().unwrap_or_default().to_owned(),
            digits: if is_digest { format!("{digits}%") } else { "none".to_owned() },
            id: KeyId::parse(text),
        }
    }
}

/// The keys of an organisation that pass the filter, in order.
pub fn list(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    order: Order,
    page: Page,
    now: Time,
) -> Result<Vec<Key>> {
    let query = narrow!(full!(), org, filter, now);
    let ended = diesel::dsl::case_when(
        api_keys::revoked_at.is_not_null().or(api_keys::expires_at.le(now).assume_not_null()),
        1.into_sql::<diesel::sql_types::Integer>(),
    )
    .otherwise(0.into_sql::<diesel::sql_types::Integer>());
    let never =
        diesel::dsl::case_when(api_keys::expires_at.is_null(), 1.into_sql::<diesel::sql_types::Integer>())
            .otherwise(0.into_sql::<diesel::sql_types::Integer>());
    let unused =
        diesel::dsl::case_when(api_keys::last_used_at.is_null(), 1.into_sql::<diesel::sql_types::Integer>())
            .otherwise(0.into_sql::<diesel::sql_types::Integer>());
    // Both databases sort NULL to another end, so that is said in words.
    let query = match (order, page.reversed) {
        (Order::Expires, false) => {
            query.order((ended, never, api_keys::expires_at.asc(), api_keys::id.asc()))
        }
        (Order::Expires, true) => {
            query.order((ended, never.desc(), api_keys::expires_at.desc(), api_keys::id.desc()))
        }
        (Order::Name, false) => query.order((api_keys::name_folded.asc(), api_keys::id.asc())),
        (Order::Name, true) => query.order((api_keys::name_folded.desc(), api_keys::id.desc())),
        (Order::LastUsed, false) => query.order((unused, api_keys::last_used_at.desc(), api_keys::id.desc())),
        (Order::LastUsed, true) => {
            query.order((unused.desc(), api_keys::last_used_at.asc(), api_keys::id.asc()))
        }
        (Order::Created, false) => query.order((api_keys::created_at.desc(), api_keys::id.desc())),
        (Order::Created, true) => query.order((api_keys::created_at.asc(), api_keys::id.asc())),
    };
    query.limit(page.limit).offset(page.offset).load(conn)?.into_iter().map(key).collect()
}

/// The keys behind `after`, newest first; `after` is the last key of the page before.
/// `NotFound` when there is no such key.
pub fn list_after(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    after: Option<KeyId>,
    limit: i64,
    now: Time,
) -> Result<Vec<Key>> {
    let mut query = narrow!(full!(), org, filter, now);
    if let Some(id) = after {
        let at: Option<Time> = api_keys::table
            .filter(api_keys::org_id.eq(org).and(api_keys::id.eq(id)))
            .select(api_keys::created_at)
            .first(conn)
            .optional()?;
        let at = at.ok_or(Error::NotFound)?;
        query = query
            .filter(api_keys::created_at.lt(at).or(api_keys::created_at.eq(at).and(api_keys::id.lt(id))));
    }
    let query = query.order((api_keys::created_at.desc(), api_keys::id.desc())).limit(limit);
    query.load(conn)?.into_iter().map(key).collect()
}

/// How many keys of an organisation pass the filter.
pub fn count(conn: &mut Conn, org: OrgId, filter: &Filter, now: Time) -> Result<i64> {
    let joined = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .select(diesel::dsl::count_star());
    Ok(narrow!(joined, org, filter, now).first(conn)?)
}

/// A key as far as checking a presented secret needs it.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret that was presented.
    pub secret: SecretId,
    /// The key's name.
    pub name: String,
    /// What the key holds.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Option<Time>,
    /// Whether it is set aside.
    pub disabled: bool,
    /// Whether it was ended.
    pub revoked: bool,
    /// Requests a minute.
    pub requests_per_minute: u32,
    /// Networks it may be used from; none is any.
    pub allowed_ips: Vec<IpNet>,
    /// Who answers for it.
    pub owner: UserId,
    /// The owner's role now; `None` when they are no member any more or may not sign in.
    pub owner_role: Option<Role>,
}

/// The key whose secret has this digest: the one query that starts from no organisation.
pub fn by_digest(conn: &mut Conn, digest: &Digest) -> Result<Option<Presented>> {
    type Found = (
        (OrgId, KeyId, SecretId),
        (String, String, Option<Time>, Option<Time>, Option<Time>, i64, String, UserId),
        (Option<Role>, Option<Time>),
    );
    let found: Option<Found> = key_secrets::table
        .inner_join(api_keys::table.on(api_keys::id.eq(key_secrets::key_id)))
        .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
        .left_join(
            members::table
                .on(members::org_id.eq(api_keys::org_id).and(members::person_id.eq(api_keys::owner_id))),
        )
        .filter(key_secrets::digest.eq(digest.as_slice()))
        .select((
            (key_secrets::org_id, key_secrets::key_id, key_secrets::id),
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
            (members::role.nullable(), people::disabled_at),
        ))
        .first(conn)
        .optional()?;
    let Some(((org, key, secret), row, (role, owner_disabled))) = found else {
        return Ok(None);
    };
    let (name, scopes, expires_at, disabled_at, revoked_at, rpm, allowed_ips, owner) = row;
    Ok(Some(Presented {
        org,
        key,
        secret,
        name,
        scopes: Scopes::from_text(&scopes),
        expires_at,
        disabled: disabled_at.is_some(),
        revoked: revoked_at.is_some(),
        requests_per_minute: u32::try_from(rpm).map_err(Error::internal)?,
        allowed_ips: networks(&allowed_ips)?,
        owner,
        owner_role: role.filter(|_| owner_disabled.is_none()),
    }))
}

/// Replaces the digest of a secret, after the installation's secret was replaced.
pub fn set_digest(tx: &mut Tx<'_>, secret: SecretId, digest: &Digest) -> Result<()> {
    diesel::update(key_secrets::table.find(secret))
        .set(key_secrets::digest.eq(digest.as_slice()))
        .execute(tx.conn)?;
    Ok(())
}

/// A secret of a key with its use.
#[derive(Clone, Debug, Queryable)]
pub struct SecretUse {
    /// Which.
    pub id: SecretId,
    /// Since when.
    pub created_at: Time,
    /// When it was first used.
    pub first_used_at: Option<Time>,
    /// When it was last used.
    pub last_used_at: Option<Time>,
    /// From where it was last used.
    pub last_address: Option<String>,
    /// By which program, as it called itself.
    pub last_program: Option<String>,
}

/// The secrets of a key, newest first.
pub fn secrets(conn: &mut Conn, org: OrgId, id: KeyId) -> Result<Vec<SecretUse>> {
    Ok(key_secrets::table
        .filter(key_secrets::org_id.eq(org).and(key_secrets::key_id.eq(id)))
        .order((key_secrets::created_at.desc(), key_secrets::id.desc()))
        .select((
            key_secrets::id,
            key_secrets::created_at,
            key_secrets::first_used_at,
            key_secrets::last_used_at,
            key_secrets::last_address,
            key_secrets::last_program,
        ))
        .load(conn)?)
}

/// A living key's id, making and end, for marking it as expiring again.
pub fn living_with_end(tx: &mut Tx<'_>, now: Time) -> Result<Vec<(KeyId, Time, Time)>> {
    let rows: Vec<(KeyId, Time, Option<Time>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.gt(now)))
        .select((api_keys::id, key_secrets::created_at, api_keys::expires_at))
        .load(tx.conn)?;
    Ok(rows.into_iter().filter_map(|(id, created, ends)| Some((id, created, ends?))).collect())
}

/// Marks from when a key counts as expiring.
pub fn set_expiring_at(tx: &mut Tx<'_>, id: KeyId, at: Option<Time>) -> Result<()> {
    diesel::update(api_keys::table.find(id)).set(api_keys::expiring_at.eq(at)).execute(tx.conn)?;
    Ok(())
}

/// The living key of that name.
pub fn by_living_name(conn: &mut Conn, org: OrgId, name: &str, now: Time) -> Result<Option<Key>> {
    full!()
        .filter(api_keys::org_id.eq(org).and(api_keys::live_name.eq(fold(name.trim()))))
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .first(conn)
        .optional()?
        .map(key)
        .transpose()
}
