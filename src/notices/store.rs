//! Notices about a key, their delivery and their acknowledgement.

use diesel::prelude::*;

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{Acting, Actor};
use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::schema::{notice_readers, notice_seen, outbox, people};
use crate::time::Time;

/// A notice to one recipient.
#[derive(Clone, Debug, Queryable)]
pub struct SentNotice {
    /// Seconds before the expiry; 0 at the expiry, negative after it.
    pub step: i64,
    /// The expiry that it was about.
    pub ends_at: Time,
    /// The recipient's name.
    pub reader: String,
    /// Whether its e-mail was queued yet.
    pub has_mail: bool,
    /// The state of its e-mail; forgotten after 30 days.
    pub state: Option<String>,
    /// The server's reason, if sending failed.
    pub words: Option<String>,
    pub queued_at: Option<Time>,
    pub sent_at: Option<Time>,
}

/// The notices about a key, latest first.
pub fn of_key(conn: &mut Conn, org: OrgId, key: KeyId, most: i64) -> Result<Vec<SentNotice>> {
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

/// The name of the person who acknowledged this expiry of a secret, and when.
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

/// Records that a person acknowledged this expiry of a secret. Later acknowledgements change nothing.
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
