//! Open sessions, as rows. `web::session` defines their content, [`crate::people::recovery`] ends them.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::people::store;
use crate::schema::{people, sessions};
use crate::time::Time;

/// An open session.
#[derive(Clone, Debug, Queryable)]
pub struct OpenSession {
    pub id: SessionId,
    /// The address from which it was opened.
    pub address: String,
    /// The browser's User-Agent.
    pub program: String,
    pub created_at: Time,
    /// When it was last used, accurate to some minutes.
    pub seen_at: Time,
}

/// A person's open sessions, last used first, at most 100.
pub fn open_of(conn: &mut Conn, person: UserId, now: Time) -> Result<Vec<OpenSession>> {
    Ok(sessions::table
        .filter(sessions::person_id.eq(person).and(sessions::ends_at.gt(now)))
        .order((sessions::seen_at.desc(), sessions::id.desc()))
        .select((sessions::id, sessions::address, sessions::program, sessions::created_at, sessions::seen_at))
        .limit(100)
        .load(conn)?)
}

/// When a person's session expires; `None` if it is over. Locks the session until the transaction ends.
pub fn lock(tx: &mut Tx<'_>, person: UserId, session: SessionId) -> Result<Option<Time>> {
    let open = sessions::table
        .filter(sessions::person_id.eq(person).and(sessions::id.eq(session)))
        .select(sessions::ends_at);
    Ok(match tx.conn {
        // Not a shared lock: requests that share one could keep the session from being ended forever.
        Conn::Postgres(conn) => open.for_no_key_update().first(conn).optional()?,
        // SQLite's transaction has locked everything already.
        Conn::Sqlite(conn) => open.first(conn).optional()?,
    })
}

/// Ends one session of a person; returns how many ended.
pub(super) fn end(tx: &mut Tx<'_>, person: UserId, session: SessionId) -> Result<usize> {
    let rows = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.eq(session)));
    Ok(diesel::delete(rows).execute(tx.conn)?)
}

/// Ends all but one session of a person; returns how many ended.
pub(super) fn end_others(tx: &mut Tx<'_>, person: UserId, but: SessionId) -> Result<usize> {
    let rows = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.ne(but)));
    Ok(diesel::delete(rows).execute(tx.conn)?)
}

/// Whether a person has this session.
pub(super) fn exists(conn: &mut Conn, person: UserId, session: SessionId) -> Result<bool> {
    let row = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.eq(session)));
    Ok(diesel::select(diesel::dsl::exists(row)).get_result(conn)?)
}

/// Ends all sessions of a person; returns how many ended.
pub(super) fn end_all(tx: &mut Tx<'_>, person: UserId) -> Result<usize> {
    Ok(diesel::delete(sessions::table.filter(sessions::person_id.eq(person))).execute(tx.conn)?)
}

/// Whether a session may begin for someone who proved their identity when their access generation was
/// `generation`. Keeps the account from being secured until the transaction ends.
pub fn may_begin(tx: &mut Tx<'_>, person: UserId, generation: i64, now: Time) -> Result<bool> {
    store::lock(tx, person)?;
    let admitted = diesel::update(people::table.find(person))
        .filter(people::access_generation.eq(generation).and(people::disabled_at.is_null()))
        .set(people::seen_at.eq(now))
        .execute(tx.conn)?;
    Ok(admitted == 1)
}

/// Deletes sessions that have ended.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(sessions::table.filter(sessions::ends_at.le(now))).execute(tx.conn)?;
    Ok(())
}
