//! Rows of refusals.

use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel::upsert::excluded;

use crate::db::{Conn, Tx, each};
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::schema::{api_keys, refusals, refused_requests};
use crate::time::{DAY, Time};
use crate::usage::refusals::{RECENT, Refused};

/// How long sums are kept, in days.
pub const SUM_DAYS: i64 = 100;
/// How long refused requests are kept one by one, in days.
pub const REQUEST_DAYS: i64 = 14;

/// Adds what was counted to what was counted before.
pub fn add(tx: &mut Tx<'_>, refused: &Refused) -> Result<()> {
    for ((org, key, hour, code), sum) in &refused.sums {
        let (at, address, request) = &sum.last;
        let row = (
            refusals::org_id.eq(org),
            refusals::key_id.eq(key),
            refusals::hour.eq(hour),
            refusals::code.eq(*code),
            refusals::requests.eq(sum.requests),
            refusals::last_at.eq(at),
            refusals::last_address.eq(address),
            refusals::last_request.eq(request),
        );
        each!(tx.conn, |c| {
            diesel::insert_into(refusals::table)
                .values(row)
                .on_conflict((refusals::org_id, refusals::key_id, refusals::hour, refusals::code))
                .do_update()
                .set((
                    refusals::requests.eq(refusals::requests + excluded(refusals::requests)),
                    refusals::last_at.eq(excluded(refusals::last_at)),
                    refusals::last_address.eq(excluded(refusals::last_address)),
                    refusals::last_request.eq(excluded(refusals::last_request)),
                ))
                .execute(c)
        })?;
    }
    for recent in refused.recent.values() {
        for refusal in recent {
            let row = (
                refused_requests::org_id.eq(refusal.org),
                refused_requests::request_id.eq(&refusal.request),
                refused_requests::key_id.eq(refusal.key),
                refused_requests::at.eq(refusal.at),
                refused_requests::code.eq(refusal.code),
                refused_requests::route.eq(&refusal.route),
                refused_requests::address.eq(&refusal.address),
                refused_requests::scope.eq(refusal.scope.map(crate::scope::Scope::name)),
                refused_requests::by_role.eq(refusal.by_role),
            );
            each!(tx.conn, |c| {
                diesel::insert_into(refused_requests::table).values(row).on_conflict_do_nothing().execute(c)
            })?;
        }
        if let Some(last) = recent.back() {
            forget_behind(tx, last.org, last.key)?;
        }
    }
    Ok(())
}

/// Keeps the latest refused requests of a key and no more.
fn forget_behind(tx: &mut Tx<'_>, org: OrgId, key: KeyId) -> Result<()> {
    let own = refused_requests::org_id.eq(org).and(refused_requests::key_id.eq(key));
    let too_old: Option<Time> = refused_requests::table
        .filter(own)
        .order(refused_requests::at.desc())
        .offset(RECENT.try_into().unwrap_or(i64::MAX))
        .select(refused_requests::at)
        .first(tx.conn)
        .optional()?;
    if let Some(at) = too_old {
        diesel::delete(refused_requests::table.filter(own.and(refused_requests::at.le(at))))
            .execute(tx.conn)?;
    }
    Ok(())
}

/// Forgets what is long ago.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(refusals::table.filter(refusals::hour.lt(now.plus(-SUM_DAYS * DAY)))).execute(tx.conn)?;
    let old = refused_requests::at.lt(now.plus(-REQUEST_DAYS * DAY));
    diesel::delete(refused_requests::table.filter(old)).execute(tx.conn)?;
    Ok(())
}

/// A stored refused request.
#[derive(Clone, Debug, Queryable)]
pub struct RefusedRequest {
    /// Its request id.
    pub request: String,
    pub key: KeyId,
    pub at: Time,
    /// The code of the refusal.
    pub code: String,
    /// The method and path.
    pub route: String,
    /// The client's address.
    pub address: String,
    /// The required scope, if any.
    pub scope: Option<String>,
    /// Whether the key has the scope but its owner's role does not allow it.
    pub by_role: bool,
}

macro_rules! kept {
    () => {
        refused_requests::table.select((
            refused_requests::request_id,
            refused_requests::key_id,
            refused_requests::at,
            refused_requests::code,
            refused_requests::route,
            refused_requests::address,
            refused_requests::scope,
            refused_requests::by_role,
        ))
    };
}

/// A refused request of the organisation, for as long as it is kept.
pub fn find(conn: &mut Conn, org: OrgId, request: &str) -> Result<Option<RefusedRequest>> {
    let own = refused_requests::org_id.eq(org).and(refused_requests::request_id.eq(request));
    Ok(kept!().filter(own).first(conn).optional()?)
}

/// The latest refused requests of a key, latest first.
pub fn recent(conn: &mut Conn, org: OrgId, key: KeyId) -> Result<Vec<RefusedRequest>> {
    Ok(kept!()
        .filter(refused_requests::org_id.eq(org).and(refused_requests::key_id.eq(key)))
        .order(refused_requests::at.desc())
        .load(conn)?)
}

/// Refusals of a key since an instant, by code: code, how many, the latest. Most first.
pub fn by_code(conn: &mut Conn, org: OrgId, key: KeyId, since: Time) -> Result<Vec<(String, i64, Time)>> {
    let mut rows: Vec<(String, i64, Time)> = refusals::table
        .filter(refusals::org_id.eq(org).and(refusals::key_id.eq(key)))
        .filter(refusals::hour.ge(since.hour()))
        .group_by(refusals::code)
        .select((refusals::code, requests(), latest()))
        .load(conn)?;
    rows.sort_by_key(|(_, requests, _)| -requests);
    Ok(rows)
}

/// A key's refusals of one code: key, code, how many, the latest.
pub type OfKey = (KeyId, String, i64, Time);

/// Refusals of an organisation's keys, or of one owner's in it, since an instant. Most first, at
/// most `most`.
pub fn by_key(
    conn: &mut Conn,
    org: OrgId,
    owner: Option<UserId>,
    since: Time,
    most: usize,
) -> Result<Vec<OfKey>> {
    let own = refusals::org_id.eq(org).and(refusals::hour.ge(since.hour()));
    let grouped = refusals::table.filter(own).group_by((refusals::key_id, refusals::code));
    let query = grouped.select((refusals::key_id, refusals::code, requests(), latest()));
    let mut rows: Vec<OfKey> = match owner {
        None => query.load(conn)?,
        Some(owner) => {
            let keys = api_keys::table.filter(api_keys::org_id.eq(org).and(api_keys::owner_id.eq(owner)));
            query.filter(refusals::key_id.eq_any(keys.select(api_keys::id))).load(conn)?
        }
    };
    rows.sort_by_key(|(_, _, requests, _)| -requests);
    rows.truncate(most);
    Ok(rows)
}

/// PostgreSQL makes a decimal of a sum, which diesel can't read on both databases.
fn requests() -> SqlLiteral<BigInt> {
    diesel::dsl::sql::<BigInt>("CAST(COALESCE(SUM(refusals.requests), 0) AS BIGINT)")
}

fn latest() -> SqlLiteral<BigInt> {
    diesel::dsl::sql::<BigInt>("CAST(COALESCE(MAX(refusals.last_at), 0) AS BIGINT)")
}
