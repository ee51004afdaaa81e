//! The sessions that people have open, as rows. What is in them is the business of `web::session`.
//! What ends them is the business of [`crate::people::recovery`].

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{SessionId, UserId};
use crate::people::store;
use crate::schema::{people, sessions};
use crate::time::Time;

/// A session that is open.
#[derive(Clone, Debug, Queryable)]
pub struct Open {
    /// Its name.
    pub id: SessionId,
    /// The address from which it was opened.
    pub address: String,
    /// The browser, as it named itself.
    pub program: String,
    /// When it was opened.
    pub created_at: Time,
    /// When it was last used, to some minutes.
    pub seen_at: Time,
}

/// The sessions of a person, the one used last first.
pub fn open_of(conn: &mut Conn, person: UserId, now: Time) -> Result<Vec<Open>> {
    Ok(sessions::table
        .filter(sessions::person_id.eq(person).and(sessions::ends_at.gt(now)))
        .order((sessions::seen_at.desc(), sessions::id.desc()))
        .select((sessions::id, sessions::address, sessions::program, sessions::created_at, sessions::seen_at))
        .limit(100)
        .load(conn)?)
}

/// When a person's session expires; `None` if it is over. It can't be ended until the transaction is.
pub fn hold(tx: &mut Tx<'_>, person: UserId, session: SessionId) -> Result<Option<Time>> {
    let open = sessions::table
        .filter(sessions::person_id.eq(person).and(sessions::id.eq(session)))
        .select(sessions::ends_at);
    Ok(match tx.conn {
        // Not a shared lock: requests that share one could keep the end of their session waiting for ever.
        Conn::Postgres(conn) => open.for_no_key_update().first(conn).optional()?,
        // SQLite's transaction has locked everything already.
        Conn::Sqlite(conn) => open.first(conn).optional()?,
    })
}

/// Ends one session of a person; how many that were.
pub(super) fn end(tx: &mut Tx<'_>, person: UserId, session: SessionId) -> Result<usize> {
    let rows = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.eq(session)));
    Ok(diesel::delete(rows).execute(tx.conn)?)
}

/// Ends the sessions of a person but for one; how many that were.
pub(super) fn end_others(tx: &mut Tx<'_>, person: UserId, but: SessionId) -> Result<usize> {
    let rows = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.ne(but)));
    Ok(diesel::delete(rows).execute(tx.conn)?)
}

/// Whether a person has this session.
pub(super) fn exists(conn: &mut Conn, person: UserId, session: SessionId) -> Result<bool> {
    let row = sessions::table.filter(sessions::person_id.eq(person).and(sessions::id.eq(session)));
    Ok(diesel::select(diesel::dsl::exists(row)).get_result(conn)?)
}

/// Ends every session of a person; how many that were.
pub(super) fn end_all(tx: &mut Tx<'_>, person: UserId) -> Result<usize> {
    Ok(diesel::delete(sessions::table.filter(sessions::person_id.eq(person))).execute(tx.conn)?)
}

/// Whether a session may begin for someone who proved who they are when their access generation was
/// `generation`. Until the transaction ends, nobody secures the account.
pub fn may_begin(tx: &mut Tx<'_>, person: UserId, generation: i64, now: Time) -> Result<bool> {
    store::lock(tx, person)?;
    let admitted = diesel::update(people::table.find(person))
        .filter(people::access_generation.eq(generation).and(people::disabled_at.is_null()))
        .set(people::seen_at.eq(now))
        .execute(tx.conn)?;
    Ok(admitted == 1)
}

/// Forgets sessions that have ended.
pub fn forget_old(tx: &mut Tx<'_>, now: Time) -> Result<()> {
    diesel::delete(sessions::table.filter(sessions::ends_at.le(now))).execute(tx.conn)?;
    Ok(())
}
