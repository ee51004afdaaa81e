//! Finding what is due and telling people, in batches.
//!
//! Every key has an instant at which it is to be looked at next; whoever changes its end sets that
//! back to the earliest. So a sweep reads only keys that may be due, however many there are, and
//! decides by what is true then. The rows of a notice are written in one transaction with its mail
//! or, for steps of a day and more, with the letter that is bundled into one mail a reader.

use std::collections::{BTreeMap, HashMap, HashSet};

use diesel::prelude::*;

use crate::db::{Conn, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, SecretId, UserId};
use crate::mail::message::Message;
use crate::mail::{Impact, KeyExpired, KeyExpiredStillUsed, KeyExpiring, KeyFacts, outbox};
use crate::notices::preference::{self, EARLY, Preference};
use crate::notices::readers::{Reader, Readers};
use crate::notices::schedule::{AFTER, END, Moment, Steps};
use crate::schema::{api_keys, key_secrets, notice_readers, notice_seen, notices, people};
use crate::scope::Scopes;
use crate::time::{DAY, Time};
use crate::usage::report::{self, KeyUse};

/// How many keys a transaction looks at.
const BATCH: i64 = 200;
/// How long after its end people are told of it, where nobody looked before.
const STALE: i64 = 7 * DAY;
/// From this step on admins are told too.
const ADMINS: i64 = 7 * DAY;
/// From this step on a notice that nobody has seen says so.
const UNSEEN: i64 = 3 * DAY;
/// How many addresses a mail names.
const NAMED: usize = 5;

/// A key that may be due.
#[derive(Queryable)]
struct DueKey {
    id: KeyId,
    org: OrgId,
    secret: SecretId,
    name: String,
    scopes: String,
    ends_at: Option<Time>,
    end_set_at: Option<Time>,
    disabled_at: Option<Time>,
    revoked_at: Option<Time>,
    owner: UserId,
    backup: Option<UserId>,
    last_used_at: Option<Time>,
    prefix: String,
    last4: String,
    made_at: Time,
    owner_name: String,
    owner_zone: Option<String>,
}

/// A row of `notice_readers`.
#[derive(Insertable)]
#[diesel(table_name = notice_readers)]
struct ReaderRow {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    ends_at: Time,
    step: i64,
    person_id: UserId,
    mail_id: Option<MailId>,
    letter: Option<String>,
}

/// A row of `notices`.
#[derive(Insertable)]
#[diesel(table_name = notices)]
struct NoticeRow {
    org_id: OrgId,
    key_id: KeyId,
    secret_id: SecretId,
    ends_at: Time,
    step: i64,
    created_at: Time,
}

/// A key with the moment that has come for it.
struct Told<'a> {
    key: &'a DueKey,
    ends_at: Time,
    moment: Moment,
}

/// When a key is to be looked at next, if any is.
pub fn next_at(conn: &mut Conn) -> Result<Option<Time>> {
    Ok(api_keys::table
        .filter(api_keys::notice_at.is_not_null())
        .order(api_keys::notice_at)
        .select(api_keys::notice_at)
        .first::<Option<Time>>(conn)
        .optional()?
        .flatten())
}

/// Looks at one batch of the keys that are due; returns how many these were. Keys that another
/// process looks at are left to it.
pub fn sweep(tx: &mut Tx<'_>, steps: &Steps, now: Time) -> Result<usize> {
    let due = api_keys::table
        .filter(api_keys::notice_at.le(now))
        .order(api_keys::notice_at)
        .limit(BATCH)
        .select(api_keys::id);
    let ids: Vec<KeyId> = match tx.conn {
        Conn::Postgres(conn) => due.for_update().skip_locked().load(conn)?,
        // Its transaction has locked everything already.
        Conn::Sqlite(conn) => due.load(conn)?,
    };
    let mut orgs: BTreeMap<OrgId, Vec<DueKey>> = BTreeMap::new();
    for key in load(tx.conn, &ids)? {
        orgs.entry(key.org).or_default().push(key);
    }
    for (org, keys) in &orgs {
        tell(tx, *org, keys, steps, now)?;
    }
    Ok(ids.len())
}

fn load(conn: &mut Conn, ids: &[KeyId]) -> Result<Vec<DueKey>> {
    Ok(api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::id.eq(api_keys::secret_id)))
        .inner_join(people::table.on(people::id.eq(api_keys::owner_id)))
        .filter(api_keys::id.eq_any(ids))
        .select((
            api_keys::id,
            api_keys::org_id,
            api_keys::secret_id,
            api_keys::name,
            api_keys::scopes,
            api_keys::expires_at,
            api_keys::end_set_at,
            api_keys::disabled_at,
            api_keys::revoked_at,
            api_keys::owner_id,
            api_keys::backup_id,
            api_keys::last_used_at,
            key_secrets::prefix,
            key_secrets::last4,
            key_secrets::created_at,
            people::name,
            people::zone,
        ))
        .load(conn)?)
}

/// Tells whom it concerns what has come for these keys of one organisation, and notes when each is
/// to be looked at next.
fn tell(tx: &mut Tx<'_>, org: OrgId, keys: &[DueKey], steps: &Steps, now: Time) -> Result<()> {
    let mut due = Vec::new();
    for key in keys {
        let Some(ends_at) = key.ends_at.filter(|_| key.revoked_at.is_none()) else {
            look_again(tx, key.id, None)?;
            continue;
        };
        let moments = key.moments(steps, ends_at);
        look_again(tx, key.id, moments.iter().map(|moment| moment.at).find(|at| *at > now))?;
        // Of several that have come since anyone looked, the latest says it all.
        let come = moments.into_iter().rev().find(|moment| moment.at <= now);
        let fresh = come.filter(|moment| moment.step > END || now.since(moment.at) < STALE);
        if let Some(moment) = fresh.filter(|_| key.disabled_at.is_none()) {
            due.push(Told { key, ends_at, moment });
        }
    }
    let ids: Vec<KeyId> = due.iter().map(|told| told.key.id).collect();
    let known = known(tx.conn, org, &ids)?;
    due.retain(|told| !known.contains(&(told.key.id, told.key.secret, told.ends_at, told.moment.step)));
    if due.is_empty() {
        return Ok(());
    }
    let ids: Vec<KeyId> = due.iter().map(|told| told.key.id).collect();
    let used = report::use_of_keys(tx.conn, org, &ids, now.plus(-7 * DAY))?;
    let seen = seen(tx.conn, org, &ids)?;
    let mut readers = Readers::of(org);
    let mut rows = Vec::new();
    let mut noted = Vec::new();
    for told in &due {
        noted.push(told.row(now));
        let with_admins = told.moment.step <= ADMINS;
        let people = readers.of_key(tx.conn, told.key.owner, told.key.backup, with_admins)?;
        let ids: Vec<UserId> = people.iter().map(|reader| reader.person.id).collect();
        let wishes = preference::of_people(tx.conn, &ids)?;
        let Some(letter) = told.letter(tx.conn, &used, &seen)? else { continue };
        for reader in people {
            let wants =
                wishes.get(&reader.person.id).is_none_or(|wish: &Preference| wish.wants(told.moment.step));
            if wants {
                rows.push(told.tell(tx, letter.to(reader.why), &reader, now)?);
            }
        }
    }
    each!(tx.conn, |c| diesel::insert_into(notices::table).values(&noted).execute(c))?;
    for rows in rows.chunks(100) {
        each!(tx.conn, |c| diesel::insert_into(notice_readers::table).values(rows).execute(c))?;
    }
    Ok(())
}

fn look_again(tx: &mut Tx<'_>, key: KeyId, at: Option<Time>) -> Result<()> {
    diesel::update(api_keys::table.find(key)).set(api_keys::notice_at.eq(at)).execute(tx.conn)?;
    Ok(())
}

type Mark = (KeyId, SecretId, Time, i64);

/// What people were told before about these keys.
fn known(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashSet<Mark>> {
    let rows: Vec<Mark> = notices::table
        .filter(notices::org_id.eq(org).and(notices::key_id.eq_any(keys)))
        .select((notices::key_id, notices::secret_id, notices::ends_at, notices::step))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The ends of these keys that someone has seen coming.
fn seen(conn: &mut Conn, org: OrgId, keys: &[KeyId]) -> Result<HashSet<(KeyId, SecretId, Time)>> {
    let rows: Vec<(KeyId, SecretId, Time)> = notice_seen::table
        .filter(notice_seen::org_id.eq(org).and(notice_seen::key_id.eq_any(keys)))
        .select((notice_seen::key_id, notice_seen::secret_id, notice_seen::ends_at))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

impl DueKey {
    fn moments(&self, steps: &Steps, ends_at: Time) -> Vec<Moment> {
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

impl Told<'_> {
    fn row(&self, now: Time) -> NoticeRow {
        NoticeRow {
            org_id: self.key.org,
            key_id: self.key.id,
            secret_id: self.key.secret,
            ends_at: self.ends_at,
            step: self.moment.step,
            created_at: now,
        }
    }

    /// What there is to say; nothing where a key ended and nobody calls with it.
    fn letter(
        &self,
        conn: &mut Conn,
        used: &HashMap<KeyId, KeyUse>,
        seen: &HashSet<(KeyId, SecretId, Time)>,
    ) -> Result<Option<Template>> {
        let (key, ends_at, step) = (self.key.facts(), self.ends_at, self.moment.step);
        if step == AFTER {
            let after =
                report::use_of_keys(conn, self.key.org, &[self.key.id], ends_at.plus(crate::time::HOUR))?;
            let Some(calls) = after.get(&self.key.id).filter(|calls| calls.calls > 0) else {
                return Ok(None);
            };
            let letter = KeyExpiredStillUsed {
                key,
                why: crate::mail::Why::Owner,
                ended_at: ends_at,
                calls: calls.calls,
                addresses: calls.addresses(),
                callers: calls.callers(NAMED),
            };
            return Ok(Some(Template::StillUsed(letter)));
        }
        let mut impact = Impact { last_used_at: self.key.last_used_at, ..Impact::default() };
        if let Some(calls) = used.get(&self.key.id) {
            impact.calls = calls.calls;
            impact.addresses = calls.addresses();
            impact.callers = calls.callers(NAMED);
            impact.scopes.clone_from(&calls.scopes);
        }
        let why = crate::mail::Why::Owner;
        if step == END {
            return Ok(Some(Template::Expired(KeyExpired { key, why, ended_at: ends_at, impact })));
        }
        let unseen = step <= UNSEEN && !seen.contains(&(self.key.id, self.key.secret, ends_at));
        let early = step >= EARLY;
        Ok(Some(Template::Expiring(KeyExpiring { key, why, ends_at, step, impact, unseen, early })))
    }

    /// Queues a mail, or leaves the letter to be bundled.
    fn tell(&self, tx: &mut Tx<'_>, letter: Template, reader: &Reader, now: Time) -> Result<ReaderRow> {
        let mut row = ReaderRow {
            org_id: self.key.org,
            key_id: self.key.id,
            secret_id: self.key.secret,
            ends_at: self.ends_at,
            step: self.moment.step,
            person_id: reader.person.id,
            mail_id: None,
            letter: None,
        };
        match letter {
            Template::Expiring(letter) if letter.step >= DAY => {
                row.letter = Some(serde_json::to_string(&letter).map_err(Error::internal)?);
            }
            letter => {
                let to = reader.person.recipient(Some(self.key.org));
                row.mail_id = Some(outbox::add(tx, &to, &letter.into(), now)?);
            }
        }
        Ok(row)
    }
}

/// A letter, before it is known who reads it.
#[derive(Clone)]
enum Template {
    Expiring(KeyExpiring),
    Expired(KeyExpired),
    StillUsed(KeyExpiredStillUsed),
}

impl Template {
    fn to(&self, why: crate::mail::Why) -> Template {
        match self.clone() {
            Template::Expiring(letter) => Template::Expiring(KeyExpiring { why, ..letter }),
            Template::Expired(letter) => Template::Expired(KeyExpired { why, ..letter }),
            Template::StillUsed(letter) => Template::StillUsed(KeyExpiredStillUsed { why, ..letter }),
        }
    }
}

impl From<Template> for Message {
    fn from(letter: Template) -> Message {
        match letter {
            Template::Expiring(letter) => letter.into(),
            Template::Expired(letter) => letter.into(),
            Template::StillUsed(letter) => letter.into(),
        }
    }
}
