//! What people were told about a key's end, what became of it, and who has seen it.

use diesel::prelude::*;

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{Acting, Actor};
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::schema::{notice_readers, notice_seen, outbox, people};
use crate::time::Time;

/// Someone was told about a key's end.
#[derive(Clone, Debug, Queryable)]
pub struct Told {
    /// The step, in seconds before the end; 0 is the end itself, less lies after it.
    pub step: i64,
    /// The end that it was about.
    pub ends_at: Time,
    /// The reader's name.
    pub reader: String,
    /// Whether a mail was written yet.
    pub has_mail: bool,
    /// The mail's state by its name; forgotten after a month.
    pub state: Option<String>,
    /// What the server said, where it did not take it.
    pub words: Option<String>,
    /// When the mail was queued.
    pub queued_at: Option<Time>,
    /// When the server took it.
    pub sent_at: Option<Time>,
}

/// What people were told about a key, latest first.
pub fn of_key(conn: &mut Conn, org: OrgId, key: KeyId, most: i64) -> Result<Vec<Told>> {
    Ok(notice_readers::table
        .inner_join(people::table.on(people::id.eq(notice_readers::person_id)))
        .left_join(outbox::table.on(outbox::id.nullable().eq(notice_readers::mail_id)))
        .filter(notice_readers::org_id.eq(org).and(notice_readers::key_id.eq(key)))
        .order((notice_readers::ends_at.desc(), notice_readers::step, people::name))
        .limit(most)
        .select((
            notice_readers::step,
            notice_readers::ends_at,
            people::name,
            notice_readers::mail_id.is_not_null(),
            outbox::state.nullable(),
            outbox::last_error.nullable(),
            outbox::created_at.nullable(),
            outbox::sent_at.nullable(),
        ))
        .load(conn)?)
}

/// Who has seen that this secret ends then, and when they said so.
pub fn seen(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    secret: SecretId,
    ends_at: Time,
) -> Result<Option<(String, Time)>> {
    Ok(notice_seen::table
        .inner_join(people::table.on(people::id.eq(notice_seen::person_id)))
        .filter(notice_seen::org_id.eq(org).and(notice_seen::key_id.eq(key)))
        .filter(notice_seen::secret_id.eq(secret).and(notice_seen::ends_at.eq(ends_at)))
        .select((people::name, notice_seen::at))
        .first(conn)
        .optional()?)
}

/// Notes that a person has seen that this secret ends then. Whoever comes second changes nothing.
pub fn acknowledge(
    tx: &mut Tx<'_>,
    acting: &Acting,
    key: KeyId,
    secret: SecretId,
    ends_at: Time,
) -> Result<()> {
    let Actor::Person(person) = acting.actor else { return Err(Error::Forbidden) };
    let row = (
        notice_seen::org_id.eq(acting.org),
        notice_seen::key_id.eq(key),
        notice_seen::secret_id.eq(secret),
        notice_seen::ends_at.eq(ends_at),
        notice_seen::person_id.eq::<UserId>(person),
        notice_seen::at.eq(acting.now),
    );
    let noted = each!(tx.conn, |c| {
        diesel::insert_into(notice_seen::table).values(row).on_conflict_do_nothing().execute(c)
    })?;
    if noted == 0 {
        return Ok(());
    }
    log::append(tx, acting, &key.to_string(), &Event::NoticeSeen { ends_at })
}
