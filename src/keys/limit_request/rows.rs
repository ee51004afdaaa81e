//! The rows of requests for higher limits.

use diesel::prelude::*;

use crate::authority::Acting;
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, LimitRequestId, OrgId, UserId};
use crate::keys::limit_request::{LimitRequest, State};
use crate::schema::{api_keys, limit_requests, people};
use crate::time::Time;

mod alias {
    diesel::alias!(crate::schema::people as deciders: Deciders);
}
use alias::deciders;

type Row = (
    (LimitRequestId, KeyId, UserId, Time, i64, String, String),
    (Option<Time>, Option<i64>, Option<String>),
    (String, i64),
    String,
    Option<String>,
);

/// Requests joined with their keys and people: the start of every query.
macro_rules! full {
    ($org:expr) => {
        limit_requests::table
            .inner_join(api_keys::table.on(api_keys::id.eq(limit_requests::key_id)))
            .inner_join(people::table.on(people::id.eq(limit_requests::asked_by)))
            .left_join(deciders.on(deciders.field(people::id).nullable().eq(limit_requests::decided_by)))
            .filter(limit_requests::org_id.eq($org))
            .select((
                (
                    limit_requests::id,
                    limit_requests::key_id,
                    limit_requests::asked_by,
                    limit_requests::asked_at,
                    limit_requests::asked_limit,
                    limit_requests::reason,
                    limit_requests::state,
                ),
                (limit_requests::decided_at, limit_requests::granted_limit, limit_requests::words),
                (api_keys::name, api_keys::requests_per_minute),
                people::name,
                deciders.field(people::name).nullable(),
            ))
    };
}

fn request((asked, answer, (key_name, limit_now), asker, decider): Row) -> Result<LimitRequest> {
    let (id, key, asked_by, asked_at, asked_limit, reason, state) = asked;
    let (decided_at, granted, words) = answer;
    let small = |limit: i64| u32::try_from(limit).map_err(Error::unreadable);
    Ok(LimitRequest {
        id,
        key,
        key_name,
        limit_now: small(limit_now)?,
        asked_by,
        asker,
        asked_at,
        asked_limit: small(asked_limit)?,
        reason,
        state: State::parse(&state).ok_or_else(|| Error::internal("a limit request has an unknown state"))?,
        decided: decided_at.zip(decider),
        granted: granted.map(small).transpose()?,
        words,
    })
}

/// The open request for a key.
pub fn open(conn: &mut Conn, org: OrgId, key: KeyId) -> Result<Option<LimitRequest>> {
    full!(org)
        .filter(limit_requests::key_id.eq(key).and(limit_requests::state.eq(State::Open.name())))
        .first(conn)
        .optional()?
        .map(request)
        .transpose()
}

/// The latest requests for a key, newest first.
pub fn of_key(conn: &mut Conn, org: OrgId, key: KeyId, most: i64) -> Result<Vec<LimitRequest>> {
    let rows: Vec<Row> = full!(org)
        .filter(limit_requests::key_id.eq(key))
        .order((limit_requests::asked_at.desc(), limit_requests::id.desc()))
        .limit(most)
        .load(conn)?;
    rows.into_iter().map(request).collect()
}

/// The open requests of an organisation for keys that have not ended, oldest first.
pub fn all_open(conn: &mut Conn, org: OrgId, now: Time) -> Result<Vec<LimitRequest>> {
    let rows: Vec<Row> = full!(org)
        .filter(limit_requests::state.eq(State::Open.name()).and(api_keys::revoked_at.is_null()))
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .order((limit_requests::asked_at, limit_requests::id))
        .load(conn)?;
    rows.into_iter().map(request).collect()
}

/// The number of requests that [`all_open`] returns.
pub fn count_open(conn: &mut Conn, org: OrgId, now: Time) -> Result<i64> {
    Ok(limit_requests::table
        .inner_join(api_keys::table.on(api_keys::id.eq(limit_requests::key_id)))
        .filter(limit_requests::org_id.eq(org).and(limit_requests::state.eq(State::Open.name())))
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expires_at.is_null().or(api_keys::expires_at.gt(now)))
        .count()
        .get_result(conn)?)
}

/// The latest decisions, newest first.
pub fn answered(conn: &mut Conn, org: OrgId, most: i64) -> Result<Vec<LimitRequest>> {
    let rows: Vec<Row> = full!(org)
        .filter(limit_requests::state.eq_any([State::Approved.name(), State::Declined.name()]))
        .order((limit_requests::decided_at.desc(), limit_requests::id.desc()))
        .limit(most)
        .load(conn)?;
    rows.into_iter().map(request).collect()
}

pub(super) fn insert(
    tx: &mut Tx<'_>,
    acting: &Acting,
    asker: UserId,
    key: KeyId,
    limit: u32,
    reason: &str,
) -> Result<()> {
    diesel::insert_into(limit_requests::table)
        .values((
            limit_requests::id.eq(LimitRequestId::new(acting.now)),
            limit_requests::org_id.eq(acting.org),
            limit_requests::key_id.eq(key),
            limit_requests::asked_by.eq(asker),
            limit_requests::asked_at.eq(acting.now),
            limit_requests::asked_limit.eq(i64::from(limit)),
            limit_requests::reason.eq(reason),
            limit_requests::state.eq(State::Open.name()),
        ))
        .execute(tx.conn)?;
    Ok(())
}

pub(super) fn close(
    tx: &mut Tx<'_>,
    acting: &Acting,
    id: LimitRequestId,
    state: State,
    by: UserId,
    granted: Option<u32>,
    words: Option<&str>,
) -> Result<()> {
    diesel::update(limit_requests::table)
        .filter(limit_requests::org_id.eq(acting.org).and(limit_requests::id.eq(id)))
        .set((
            limit_requests::state.eq(state.name()),
            limit_requests::decided_by.eq(by),
            limit_requests::decided_at.eq(acting.now),
            limit_requests::granted_limit.eq(granted.map(i64::from)),
            limit_requests::words.eq(words),
        ))
        .execute(tx.conn)?;
    Ok(())
}
