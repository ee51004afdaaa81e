//! Lists of keys: filtered, sorted, part by part.

use diesel::dsl::case_when;
use diesel::prelude::*;
use diesel::sql_types::Integer;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::name::fold;
use crate::keys::secret::SHA256_DIGITS;
use crate::keys::store::{backups, full, key};
use crate::keys::{Key, Status};
use crate::schema::{api_keys, key_secrets, people};
use crate::scope::Scope;
use crate::time::Time;

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
    let ended = case_when(
        api_keys::revoked_at.is_not_null().or(api_keys::expires_at.le(now).assume_not_null()),
        1.into_sql::<Integer>(),
    )
    .otherwise(0.into_sql::<Integer>());
    let never =
        case_when(api_keys::expires_at.is_null(), 1.into_sql::<Integer>()).otherwise(0.into_sql::<Integer>());
    let unused = case_when(api_keys::last_used_at.is_null(), 1.into_sql::<Integer>())
        .otherwise(0.into_sql::<Integer>());
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
