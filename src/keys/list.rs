//! Lists of keys: filtered, sorted, part by part.

use diesel::dsl::{case_when, count_star};
use diesel::prelude::*;
use diesel::sql_types::Integer;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::secret::SHA256_DIGITS;
use crate::keys::store::by_ids;
use crate::keys::{Key, Status};
use crate::schema::{api_keys, key_secrets, service_answerers};
use crate::scope::Scope;
use crate::text::fold;
use crate::time::Time;

/// How many keys that are found can be named one by one.
const FEW: usize = 500;

/// Which keys a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these; `Active` includes expiring ones.
    pub status: Option<Status>,
    /// Only those that hold the scope.
    pub scope: Option<Scope>,
    /// Only those of this owner.
    pub owner: Option<UserId>,
    /// Only those that this member owns, is the backup of, or answers for in the place of one of them.
    pub mine: Option<UserId>,
    /// Only those of which a name part, the last four, the fingerprint or the id is this.
    pub search: Option<String>,
    /// Only those whose SHA-256 begins with these hexadecimal digits.
    pub fingerprint: Option<String>,
    /// Only these.
    pub among: Option<Vec<KeyId>>,
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

/// The condition that a key has not ended.
macro_rules! living {
    ($now:expr) => {
        api_keys::revoked_at
            .is_null()
            .and(api_keys::expires_at.is_null().or(api_keys::expires_at.assume_not_null().gt($now)))
    };
}

/// The condition that a key has a status; `Active` includes expiring ones.
macro_rules! has_status {
    (active, $now:expr) => {
        living!($now).and(api_keys::disabled_at.is_null())
    };
    (expiring, $now:expr) => {
        has_status!(active, $now).and(api_keys::expiring_at.assume_not_null().le($now))
    };
    (disabled, $now:expr) => {
        living!($now).and(api_keys::disabled_at.is_not_null())
    };
    (expired, $now:expr) => {
        api_keys::revoked_at.is_null().and(api_keys::expires_at.assume_not_null().le($now))
    };
    (revoked, $now:expr) => {
        api_keys::revoked_at.is_not_null()
    };
}

/// The keys that pass the filter, as a boxed query on their table alone: what is shown of
/// them is joined later, to the few that are shown.
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
            query = query.filter(api_keys::scopes.like(format!("%{}%", scope.name())));
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
            // A range, because no index serves a pattern.
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

// Behind the macros, which it uses.
mod numbers;
pub use numbers::{Counts, Numbers};

/// A search text as the patterns it stands for.
struct Search {
    name: String,
    last4: String,
    /// The first and the last digest that begins with the digits; nothing is between when there are none.
    digits: (String, String),
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
            digits: if is_digest {
                (digits.clone(), format!("{digits}g"))
            } else {
                ("g".to_owned(), "g".to_owned())
            },
            id: KeyId::parse(text),
        }
    }
}

/// The same filter with what was searched for looked up, if few keys are found: then they are
/// looked for once, however often the filter is used.
pub fn looked_up(conn: &mut Conn, org: OrgId, filter: Filter) -> Result<Filter> {
    let Filter { search: Some(search), among: None, .. } = &filter else { return Ok(filter) };
    let found = named(conn, org, search, FEW + 1)?;
    Ok(match found.len() <= FEW {
        true => Filter { search: None, among: Some(found), ..filter },
        false => filter,
    })
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
    let ids = if order == Order::Expires {
        by_expiry(conn, org, filter, page, now)?
    } else {
        let query = narrowed!(api_keys::id, org, filter, now);
        let unused = case_when(api_keys::last_used_at.is_null(), 1.into_sql::<Integer>())
            .otherwise(0.into_sql::<Integer>());
        let query = match (order, page.reversed) {
            (Order::Name, false) => query.order((api_keys::name_folded.asc(), api_keys::id.asc())),
            (Order::Name, true) => query.order((api_keys::name_folded.desc(), api_keys::id.desc())),
            // Both databases sort NULL to another end, so that is said in words.
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

/// A stretch of the list by expiry, which an index gives in order.
#[derive(Clone, Copy)]
enum Stretch {
    Ending,
    Never,
    Ended,
}

/// Living keys by their end, those without an end behind them, ended keys last.
fn by_expiry(conn: &mut Conn, org: OrgId, filter: &Filter, page: Page, now: Time) -> Result<Vec<KeyId>> {
    let mut ids: Vec<KeyId> = Vec::new();
    let (mut offset, mut left) = (page.offset, page.limit);
    let stretches = match page.reversed {
        false => [Stretch::Ending, Stretch::Never, Stretch::Ended],
        true => [Stretch::Never, Stretch::Ending, Stretch::Ended],
    };
    for stretch in stretches {
        macro_rules! of_stretch {
            ($selection:expr) => {{
                let query = narrowed!($selection, org, filter, now);
                match stretch {
                    Stretch::Ending => query.filter(
                        api_keys::revoked_at.is_null().and(api_keys::expires_at.assume_not_null().gt(now)),
                    ),
                    Stretch::Never => {
                        query.filter(api_keys::revoked_at.is_null().and(api_keys::expires_at.is_null()))
                    }
                    Stretch::Ended => query.filter(
                        api_keys::revoked_at.is_not_null().or(api_keys::expires_at.assume_not_null().le(now)),
                    ),
                }
            }};
        }
        let query = of_stretch!(api_keys::id);
        let query = match page.reversed {
            false => query.order((api_keys::expires_at.asc(), api_keys::id.asc())),
            true => query.order((api_keys::expires_at.desc(), api_keys::id.desc())),
        };
        let found: Vec<KeyId> = query.limit(left).offset(offset).load(conn)?;
        if found.is_empty() && offset > 0 {
            let skipped: i64 = of_stretch!(count_star()).first(conn)?;
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

/// Keys whose name is or contains a text, or that it tells by their id, or by hint or fingerprint of a
/// secret: those of that very name first, the others in no order. An index gives each of them.
pub fn named(conn: &mut Conn, org: OrgId, text: &str, most: usize) -> Result<Vec<KeyId>> {
    let search = Search::new(text);
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let own = api_keys::table.filter(api_keys::org_id.eq(org)).select(api_keys::id).limit(limit);
    let mut found: Vec<KeyId> = own.filter(api_keys::name_folded.eq(fold(text.trim()))).load(conn)?;
    if let Some(id) = search.id {
        found.extend(own.filter(api_keys::id.eq(id)).load::<KeyId>(conn)?);
    }
    let secrets =
        key_secrets::table.filter(key_secrets::org_id.eq(org)).select(key_secrets::key_id).limit(limit);
    if search.last4.chars().count() == 4 {
        found.extend(secrets.filter(key_secrets::last4.eq(&search.last4)).load::<KeyId>(conn)?);
    }
    let (first, last) = &search.digits;
    if first != last {
        let fits = key_secrets::sha256_prefix.between(first, last);
        found.extend(secrets.filter(fits).load::<KeyId>(conn)?);
    }
    if found.len() < most {
        found.extend(own.filter(api_keys::name_folded.like(search.name).escape('\\')).load::<KeyId>(conn)?);
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|id| seen.insert(*id));
    found.truncate(most);
    Ok(found)
}
