//! What there is to say about a key whose moment has come.

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

/// From this step on a notice that nobody has seen says so.
const UNSEEN: i64 = 3 * DAY;
/// How many addresses a mail names.
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

/// A key with the moment that has come for it.
pub(super) struct Told<'a> {
    pub(super) key: &'a DueKey,
    pub(super) ends_at: Time,
    pub(super) moment: Moment,
}

/// What was found out about the keys of a batch.
pub(super) struct Facts {
    used: HashMap<KeyId, KeyUse>,
    used_after_end: HashMap<KeyId, KeyUse>,
    seen: HashSet<(KeyId, SecretId, Time)>,
}

impl Facts {
    /// Finds it out for all of them at once.
    pub(super) fn load(conn: &mut Conn, org: OrgId, due: &[Told<'_>], now: Time) -> Result<Facts> {
        let (mut before, mut after) = (Vec::new(), BTreeMap::<Time, Vec<KeyId>>::new());
        for told in due {
            match told.moment.step {
                // Calls of the hour in which the key ended may have been before its end.
                AFTER => after.entry(told.ends_at.plus(HOUR).hour()).or_default().push(told.key.id),
                _ => before.push(told.key.id),
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

    /// The letter about a key; none where it ended and nobody calls with it.
    pub(super) fn letter(&self, told: &Told<'_>) -> Option<Letter> {
        let (key, ends_at, step) = (told.key.facts(), told.ends_at, told.moment.step);
        // Whoever reads it is filled in for each reader.
        let why = Why::Owner;
        if step == AFTER {
            let calls = self.used_after_end.get(&key.id).filter(|calls| calls.calls > 0)?;
            return Some(Letter::StillUsed(KeyExpiredStillUsed {
                key,
                why,
                ended_at: ends_at,
                calls: calls.calls,
                addresses: calls.addresses(),
                callers: calls.callers(NAMED),
            }));
        }
        let mut impact = Impact { last_used_at: told.key.last_used_at, ..Impact::default() };
        if let Some(calls) = self.used.get(&key.id) {
            impact.calls = calls.calls;
            impact.addresses = calls.addresses();
            impact.callers = calls.callers(NAMED);
            impact.scopes.clone_from(&calls.scopes);
        }
        if step == END {
            return Some(Letter::Expired(KeyExpired { key, why, ended_at: ends_at, impact }));
        }
        let unseen = step <= UNSEEN && !self.seen.contains(&(key.id, told.key.secret, ends_at));
        let early = step >= EARLY;
        Some(Letter::Expiring(KeyExpiring { key, why, ends_at, step, impact, unseen, early }))
    }
}

/// The ends of these keys that someone has seen coming.
fn seen(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashSet<(KeyId, SecretId, Time)>> {
    let rows: Vec<(KeyId, SecretId, Time)> = notice_seen::table
        .filter(notice_seen::org_id.eq(org).and(notice_seen::key_id.eq_any(keys)))
        .select((notice_seen::key_id, notice_seen::secret_id, notice_seen::ends_at))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// What is said about a key that ends or has ended.
#[derive(Clone)]
pub(super) enum Letter {
    Expiring(KeyExpiring),
    Expired(KeyExpired),
    StillUsed(KeyExpiredStillUsed),
}

impl Letter {
    /// The same for a reader who is told for this reason.
    pub(super) fn to(&self, why: Why) -> Letter {
        match self.clone() {
            Letter::Expiring(letter) => Letter::Expiring(KeyExpiring { why, ..letter }),
            Letter::Expired(letter) => Letter::Expired(KeyExpired { why, ..letter }),
            Letter::StillUsed(letter) => Letter::StillUsed(KeyExpiredStillUsed { why, ..letter }),
        }
    }
}

impl From<Letter> for Message {
    fn from(letter: Letter) -> Message {
        match letter {
            Letter::Expiring(letter) => letter.into(),
            Letter::Expired(letter) => letter.into(),
            Letter::StillUsed(letter) => letter.into(),
        }
    }
}
