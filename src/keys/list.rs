//! Lists of keys: filtered, sorted and paginated.

use diesel::dsl::{case_when, count_star};
use diesel::prelude::*;
use diesel::sql_types::{Integer, Text};

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::secret::SHA256_DIGITS;
use crate::keys::store::by_ids;
use crate::keys::{Key, Status};
use crate::schema::{api_keys, key_secrets, service_answerers};
use crate::scope::Scope;
use crate::time::Time;

/// Which keys a list shows. A key must match every part that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// `Active` includes expiring keys.
    pub status: Option<Status>,
    pub scope: Option<Scope>,
    pub owner: Option<UserId>,
    /// Keys whose owner or backup is this member, or a service account that they are responsible for.
    pub mine: Option<UserId>,
    /// Part of the name, or the last four characters, the fingerprint or the id.
    pub search: Option<String>,
    /// The first hexadecimal digits of a secret's SHA-256.
    pub fingerprint: Option<String>,
    pub among: Option<Vec<KeyId>>,
}

/// The sort order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// Soonest expiry first, ended keys last.
    #[default]
    Expires,
    Name,
    /// Most recently used first.
    LastUsed,
    /// Newest first.
    Created,
}

/// A page of a list.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub offset: i64,
    pub limit: i64,
    /// Whether the order is reversed.
    pub reversed: bool,
}

/// The condition that a key has not ended.
macro_rules! not_ended {
    ($now:expr) => {
        api_keys::revoked_at
            .is_null()
            .and(api_keys::expires_at.is_null().or(api_keys::expires_at.assume_not_null().gt($now)))
    };
}

/// The condition that a key has a status; `active` includes expiring keys.
macro_rules! has_status {
    (active, $now:expr) => {
        not_ended!($now).and(api_keys::disabled_at.is_null())
    };
    (expiring, $now:expr) => {
        has_status!(active, $now).and(api_keys::expiring_at.assume_not_null().le($now))
    };
    (disabled, $now:expr) => {
        not_ended!($now).and(api_keys::disabled_at.is_not_null())
    };
    (expired, $now:expr) => {
        api_keys::revoked_at.is_null().and(api_keys::expires_at.assume_not_null().le($now))
    };
    (revoked, $now:expr) => {
        api_keys::revoked_at.is_not_null()
    };
}

/// A boxed query for the keys that match the filter, on their table alone. Other tables are joined later,
/// only for the keys of one page.
macro_rules! narrowed {
    ($selection:expr, $org:expr, $filter:expr, $now:expr) => {{
        let mut query = api_keys::table.select($selection).filter(api_keys::org_id.eq($org)).into_boxed();
        let (org, now) = ($org, $now);
        query = match $filter.status {
            None => query,
            Some(Status::Active) => query.filter(has_status!(active, now)),
            Some(Status::Expiring) => query.filter(has_status!(expiring, now)),
            Some(Status::Disabled) => query.filter(has_status!(disabled, now)),
            Some(Status::Expired) => query.filter(has_status!(expired, now)),
            Some(Status::Revoked) => query.filter(has_status!(revoked, now)),
        };
        if let Some(scope) = $filter.scope {
            // With a space on both sides of each scope, no scope is found within the name of another.
            let held = " ".into_sql::<Text>().concat(api_keys::scopes).concat(" ");
            query = query.filter(held.like(format!("% {scope} %")));
        }
        if let Some(owner) = $filter.owner {
            query = query.filter(api_keys::owner_id.eq(owner));
        }
        if let Some(member) = $filter.mine {
            let backup = api_keys::backup_id.assume_not_null();
            let accounts = service_answerers::table
                .filter(service_answerers::org_id.eq(org).and(service_answerers::person_id.eq(member)))
                .select(service_answerers::account_id);
            query = query.filter(
                (api_keys::owner_id.eq(member).or(backup.eq(member)))
                    .or(api_keys::owner_id.eq_any(accounts).or(backup.eq_any(accounts))),
            );
        }
        if let Some(digits) = &$filter.fingerprint {
            let digits: String = digits.to_lowercase().chars().take(SHA256_DIGITS).collect();
            // A range can use the index; a pattern cannot.
            let begins = key_secrets::sha256_prefix.between(digits.clone(), format!("{digits}g"));
            let secrets = key_secrets::table.filter(key_secrets::org_id.eq(org).and(begins));
            query = query.filter(api_keys::id.eq_any(secrets.select(key_secrets::key_id)));
        }
        if let Some(ids) = &$filter.among {
            query = query.filter(api_keys::id.eq_any(ids));
        }
        if let Some(search) = $filter.search.as_deref().map(Search::new) {
            let of_org = key_secrets::table.filter(key_secrets::org_id.eq(org)).select(key_secrets::key_id);
            let hinted = of_org.filter(key_secrets::last4.eq(search.last4));
            let (from, to) = search.digits;
            let digested = of_org.filter(key_secrets::sha256_prefix.between(from, to));
            let found = api_keys::name_folded
                .like(search.name)
                .escape('\\')
                .or(api_keys::id.eq_any(hinted))
                .or(api_keys::id.eq_any(digested));
            query = match search.id {
                Some(id) => query.filter(found.or(api_keys::id.eq(id))),
                None => query.filter(found),
            };
        }
        query
    }};
}

// After the macros, which it uses.
mod numbers;
mod search;
pub use numbers::{Counts, Numbers};
use search::Search;
pub use search::{looked_up, search};

/// The keys of an organisation that match the filter, in order.
pub fn list(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    order: Order,
    page: Page,
    now: Time,
) -> Result<Vec<Key>> {
    let ids = if order == Order::Expires {
        by_expiry(conn, org, filter, page, now)?
    } else {
        let query = narrowed!(api_keys::id, org, filter, now);
        let unused = case_when(api_keys::last_used_at.is_null(), 1.into_sql::<Integer>())
            .otherwise(0.into_sql::<Integer>());
        let query = match (order, page.reversed) {
            (Order::Name, false) => query.order((api_keys::name_folded.asc(), api_keys::id.asc())),
            (Order::Name, true) => query.order((api_keys::name_folded.desc(), api_keys::id.desc())),
            // The databases disagree on where NULL sorts, so unused keys are ordered explicitly.
            (Order::LastUsed, false) => {
                query.order((unused, api_keys::last_used_at.desc(), api_keys::id.desc()))
            }
            (Order::LastUsed, true) => {
                query.order((unused.desc(), api_keys::last_used_at.asc(), api_keys::id.asc()))
            }
            (_, false) => query.order((api_keys::created_at.desc(), api_keys::id.desc())),
            (_, true) => query.order((api_keys::created_at.asc(), api_keys::id.asc())),
        };
        query.limit(page.limit).offset(page.offset).load(conn)?
    };
    by_ids(conn, org, &ids)
}

/// A segment of the list by expiry. Within a segment, an index returns the keys in order.
#[derive(Clone, Copy)]
enum ExpirySegment {
    Ending,
    Never,
    Ended,
}

/// Keys by expiry: first those that expire, then those that never do, then ended keys.
fn by_expiry(conn: &mut Conn, org: OrgId, filter: &Filter, page: Page, now: Time) -> Result<Vec<KeyId>> {
    let mut ids: Vec<KeyId> = Vec::new();
    let (mut offset, mut left) = (page.offset, page.limit);
    let segments = match page.reversed {
        false => [ExpirySegment::Ending, ExpirySegment::Never, ExpirySegment::Ended],
        true => [ExpirySegment::Never, ExpirySegment::Ending, ExpirySegment::Ended],
    };
    for segment in segments {
        macro_rules! of_segment {
            ($selection:expr) => {{
                let query = narrowed!($selection, org, filter, now);
                match segment {
                    ExpirySegment::Ending => query.filter(
                        api_keys::revoked_at.is_null().and(api_keys::expires_at.assume_not_null().gt(now)),
                    ),
                    ExpirySegment::Never => {
                        query.filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.is_null()))
                    }
                    ExpirySegment::Ended => query.filter(
                        api_keys::revoked_at.is_not_null().or(api_keys::expires_at.assume_not_null().le(now)),
                    ),
                }
            }};
        }
        let query = of_segment!(api_keys::id);
        let query = match page.reversed {
            false => query.order((api_keys::expires_at.asc(), api_keys::id.asc())),
            true => query.order((api_keys::expires_at.desc(), api_keys::id.desc())),
        };
        let found: Vec<KeyId> = query.limit(left).offset(offset).load(conn)?;
        if found.is_empty() && offset > 0 {
            let skipped: i64 = of_segment!(count_star()).first(conn)?;
            offset -= skipped.min(offset);
            continue;
        }
        offset = 0;
        left -= i64::try_from(found.len()).unwrap_or(left);
        ids.extend(found);
        if left <= 0 {
            break;
        }
    }
    Ok(ids)
}

/// The keys after `after`, the last key of the previous page, newest first.
///
/// Errors: `NotFound` if there is no key `after`.
pub fn list_after(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    after: Option<KeyId>,
    limit: i64,
    now: Time,
) -> Result<Vec<Key>> {
    let mut query = narrowed!(api_keys::id, org, filter, now);
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
    let ids: Vec<KeyId> =
        query.order((api_keys::created_at.desc(), api_keys::id.desc())).limit(limit).load(conn)?;
    by_ids(conn, org, &ids)
}
