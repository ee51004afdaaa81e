//! The content of a due notice.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId, UserId};
use crate::mail::message::Message;
use crate::mail::{Impact, KeyExpired, KeyExpiredStillUsed, KeyExpiring, KeyFacts, Why};
use crate::notices::preference::EARLY;
use crate::notices::schedule::{AFTER, END, Moment, Steps};
use crate::schema::notice_seen;
use crate::scope::Scopes;
use crate::time::{DAY, HOUR, Time};
use crate::usage::recent::{self, KeyUse};

/// From this step on, a notice says that no one has acknowledged it.
const UNSEEN: i64 = 3 * DAY;
/// How many addresses an e-mail names.
const NAMED: usize = 5;

/// A key that may be due.
#[derive(Queryable)]
pub(super) struct DueKey {
    pub(super) id: KeyId,
    pub(super) org: OrgId,
    pub(super) secret: SecretId,
    name: String,
    scopes: String,
    pub(super) ends_at: Option<Time>,
    end_set_at: Option<Time>,
    pub(super) disabled_at: Option<Time>,
    pub(super) revoked_at: Option<Time>,
    pub(super) owner: UserId,
    pub(super) backup: Option<UserId>,
    last_used_at: Option<Time>,
    prefix: String,
    last4: String,
    made_at: Time,
    owner_name: String,
    owner_zone: Option<String>,
}

impl DueKey {
    pub(super) fn moments(&self, steps: &Steps, ends_at: Time) -> Vec<Moment> {
        let zone = self.owner_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok());
        let stands_since = self.end_set_at.map_or(self.made_at, |set| set.max(self.made_at));
        steps.moments(self.made_at, stands_since, ends_at, &zone.unwrap_or(jiff::tz::TimeZone::UTC))
    }

    fn facts(&self) -> KeyFacts {
        KeyFacts {
            id: self.id,
            name: self.name.clone(),
            hint: format!("{}_…{}", self.prefix, self.last4),
            owner: self.owner_name.clone(),
            scopes: Scopes::from_text(&self.scopes).names().into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A due notice.
pub(super) struct DueNotice<'a> {
    pub(super) key: &'a DueKey,
    pub(super) ends_at: Time,
    pub(super) moment: Moment,
}

/// The facts that notices mention, for a batch of keys.
pub(super) struct Facts {
    used: HashMap<KeyId, KeyUse>,
    used_after_end: HashMap<KeyId, KeyUse>,
    seen: HashSet<(KeyId, SecretId, Time)>,
}

impl Facts {
    /// Loads the facts for all of them at once.
    pub(super) fn load(conn: &mut Conn, org: OrgId, due: &[DueNotice<'_>], now: Time) -> Result<Facts> {
        let (mut before, mut after) = (Vec::new(), BTreeMap::<Time, Vec<KeyId>>::new());
        for notice in due {
            match notice.moment.step {
                // Requests in the hour of the expiry may have come before it.
                AFTER => after.entry(notice.ends_at.plus(HOUR).hour()).or_default().push(notice.key.id),
                _ => before.push(notice.key.id),
            }
        }
        let mut used_after_end = HashMap::new();
        for (since, keys) in after {
            used_after_end.extend(recent::use_of_keys(conn, org, &keys, since)?);
        }
        let seen = seen(conn, org, &before)?;
        let used = recent::use_of_keys(conn, org, &before, now.plus(-7 * DAY))?;
        Ok(Facts { used, used_after_end, seen })
    }

    /// The content of a notice; `None` if it is about an expired key that is no longer used.
    pub(super) fn content(&self, notice: &DueNotice<'_>) -> Option<NoticeContent> {
        let (key, ends_at, step) = (notice.key.facts(), notice.ends_at, notice.moment.step);
        // Replaced for each recipient.
        let why = Why::Owner;
        if step == AFTER {
            let calls = self.used_after_end.get(&key.id).filter(|calls| calls.calls > 0)?;
            return Some(NoticeContent::StillUsed(KeyExpiredStillUsed {
                key,
                why,
                ended_at: ends_at,
                calls: calls.calls,
                addresses: calls.addresses(),
                callers: calls.callers(NAMED),
            }));
        }
        let mut impact = Impact { last_used_at: notice.key.last_used_at, ..Impact::default() };
        if let Some(calls) = self.used.get(&key.id) {
            impact.calls = calls.calls;
            impact.addresses = calls.addresses();
            impact.callers = calls.callers(NAMED);
            impact.scopes.clone_from(&calls.scopes);
        }
        if step == END {
            return Some(NoticeContent::Expired(KeyExpired { key, why, ended_at: ends_at, impact }));
        }
        let unseen = step <= UNSEEN && !self.seen.contains(&(key.id, notice.key.secret, ends_at));
        let early = step >= EARLY;
        Some(NoticeContent::Expiring(KeyExpiring { key, why, ends_at, step, impact, unseen, early }))
    }
}

/// The acknowledged expiries of these keys.
fn seen(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashSet<(KeyId, SecretId, Time)>> {
    let rows: Vec<(KeyId, SecretId, Time)> = notice_seen::table
        .filter(notice_seen::org_id.eq(org).and(notice_seen::key_id.eq_any(keys)))
        .select((notice_seen::key_id, notice_seen::secret_id, notice_seen::ends_at))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The content of a notice.
#[derive(Clone)]
pub(super) enum NoticeContent {
    Expiring(KeyExpiring),
    Expired(KeyExpired),
    StillUsed(KeyExpiredStillUsed),
}

impl NoticeContent {
    /// The same content with this recipient's reason.
    pub(super) fn to(&self, why: Why) -> NoticeContent {
        match self.clone() {
            NoticeContent::Expiring(letter) => NoticeContent::Expiring(KeyExpiring { why, ..letter }),
            NoticeContent::Expired(letter) => NoticeContent::Expired(KeyExpired { why, ..letter }),
            NoticeContent::StillUsed(letter) => {
                NoticeContent::StillUsed(KeyExpiredStillUsed { why, ..letter })
            }
        }
    }
}

impl From<NoticeContent> for Message {
    fn from(letter: NoticeContent) -> Message {
        match letter {
            NoticeContent::Expiring(letter) => letter.into(),
            NoticeContent::Expired(letter) => letter.into(),
            NoticeContent::StillUsed(letter) => letter.into(),
        }
    }
}
