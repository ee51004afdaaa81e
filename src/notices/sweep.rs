//! Finding what is due and telling people, in batches.
//!
//! Every key has an instant at which it is to be looked at next; whoever changes its end sets that
//! back to the earliest. So a sweep reads only keys that may be due, however many there are, and
//! decides by what is true then. The rows of a notice are written in one transaction with its mail
//! or, for steps of a day and more, with the letter that is bundled into one mail a reader.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;

use crate::db::{Conn, Db, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, SecretId, UserId};
use crate::mail::outbox::{self, Draft};
use crate::notices::preference;
use crate::notices::readers::{Reader, Readers};
use crate::notices::schedule::{END, Steps};
use crate::notices::told::{DueKey, Facts, Letter, Told};
use crate::schema::{api_keys, key_secrets, notice_readers, notices, people};
use crate::time::{DAY, Time};

/// How many keys a transaction looks at.
const BATCH: i64 = 500;
/// How many rows one statement writes.
const ROWS: usize = 100;
/// How long after its end people are told of it, where nobody looked before.
const STALE: i64 = 7 * DAY;
/// From this step on admins are told too.
const ADMINS: i64 = 7 * DAY;

/// A row of `notice_readers`. Nothing is left to defaults, so that many are one statement.
#[derive(Insertable)]
#[diesel(table_name = notice_readers, treat_none_as_default_value = false)]
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
    look_at(tx, BATCH, steps, now)
}

/// [`sweep`] that goes on where a key can't be read.
pub async fn sweep_readable(db: &Db, steps: &Steps, now: Time) -> Result<usize> {
    let look = |most: i64| {
        let steps = steps.clone();
        db.write(move |tx| look_at(tx, most, &steps, now))
    };
    match look(BATCH).await {
        Err(error) if error.is_unreadable() => {}
        looked => return looked,
    }
    // Which of them can't be read is found one by one.
    let mut looked = 0;
    for _ in 0..BATCH {
        looked += match look(1).await {
            Err(error) if error.is_unreadable() => {
                tracing::error!(cause = ?error, "nobody can be told of a key that can't be read; it is tried again in a day");
                db.write(move |tx| set_aside(tx, now)).await?
            }
            Ok(0) => break,
            one => one?,
        };
    }
    Ok(looked)
}

/// Looks at the key that is due first in a day again.
fn set_aside(tx: &mut Tx<'_>, now: Time) -> Result<usize> {
    let due = api_keys::table.filter(api_keys::notice_at.le(now)).order(api_keys::notice_at);
    let first: Option<Vec<u8>> = due.select(api_keys::id).first(tx.conn).optional()?;
    let these = api_keys::table.filter(api_keys::id.nullable().eq(first));
    Ok(diesel::update(these).set(api_keys::notice_at.eq(now.plus(DAY))).execute(tx.conn)?)
}

fn look_at(tx: &mut Tx<'_>, most: i64, steps: &Steps, now: Time) -> Result<usize> {
    let due = api_keys::table
        .filter(api_keys::notice_at.le(now))
        .order(api_keys::notice_at)
        .limit(most)
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
    let mut next: BTreeMap<Option<Time>, Vec<KeyId>> = BTreeMap::new();
    for (org, keys) in &orgs {
        let due = due_of(keys, steps, now, &mut next);
        tell(tx, *org, due, now)?;
    }
    for (at, keys) in next {
        let these = api_keys::table.filter(api_keys::id.eq_any(keys));
        diesel::update(these).set(api_keys::notice_at.eq(at)).execute(tx.conn)?;
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

/// The keys whose moment has come; notes when each key is to be looked at next.
fn due_of<'a>(
    keys: &'a [DueKey],
    steps: &Steps,
    now: Time,
    next: &mut BTreeMap<Option<Time>, Vec<KeyId>>,
) -> Vec<Told<'a>> {
    let mut due = Vec::new();
    for key in keys {
        let Some(ends_at) = key.ends_at.filter(|_| key.revoked_at.is_none()) else {
            next.entry(None).or_default().push(key.id);
            continue;
        };
        let moments = key.moments(steps, ends_at);
        let later = moments.iter().map(|moment| moment.at).find(|at| *at > now);
        next.entry(later).or_default().push(key.id);
        // Of several that have come since anyone looked, the latest says it all.
        let come = moments.into_iter().rev().find(|moment| moment.at <= now);
        let fresh = come.filter(|moment| moment.step > END || now.since(moment.at) < STALE);
        if let Some(moment) = fresh.filter(|_| key.disabled_at.is_none()) {
            due.push(Told { key, ends_at, moment });
        }
    }
    due
}

/// Tells whom it concerns what has come for these keys of one organisation.
fn tell(tx: &mut Tx<'_>, org: OrgId, mut due: Vec<Told<'_>>, now: Time) -> Result<()> {
    let known = known(tx.conn, org, &due)?;
    due.retain(|told| !known.contains(&told.mark()));
    if due.is_empty() {
        return Ok(());
    }
    let facts = Facts::load(tx.conn, org, &due, now)?;
    let readers = readers_of(tx.conn, org, &due)?;
    let everyone = readers.iter().flatten().map(|reader| reader.person.id).collect::<HashSet<_>>();
    let wishes = preference::of_people(tx.conn, everyone)?;
    let (mut rows, mut mails) = (Vec::new(), Vec::new());
    for (told, readers) in due.iter().zip(readers) {
        let Some(letter) = facts.letter(told) else { continue };
        for reader in readers {
            if wishes.get(&reader.person.id).is_none_or(|wish| wish.wants(told.moment.step)) {
                rows.push(told.row(&letter, &reader, &mut mails, now)?);
            }
        }
    }
    let noted: Vec<NoticeRow> = due.iter().map(|told| told.noted(now)).collect();
    for rows in noted.chunks(ROWS) {
        each!(tx.conn, |c| diesel::insert_into(notices::table).values(rows).execute(c))?;
    }
    for rows in rows.chunks(ROWS) {
        each!(tx.conn, |c| diesel::insert_into(notice_readers::table).values(rows).execute(c))?;
    }
    outbox::queue_all(tx, &mails, now)
}

type Mark = (KeyId, SecretId, Time, i64);

/// What people were told before about these keys.
fn known(conn: &mut Conn, org: OrgId, due: &[Told<'_>]) -> Result<HashSet<Mark>> {
    let keys = due.iter().map(|told| told.key.id);
    let rows: Vec<Mark> = notices::table
        .filter(notices::org_id.eq(org).and(notices::key_id.eq_any(keys)))
        .select((notices::key_id, notices::secret_id, notices::ends_at, notices::step))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// Who is told, key by key.
fn readers_of(conn: &mut Conn, org: OrgId, due: &[Told<'_>]) -> Result<Vec<Vec<Reader>>> {
    let mut readers = Readers::of(org);
    readers
        .learn(conn, due.iter().flat_map(|told| std::iter::once(told.key.owner).chain(told.key.backup)))?;
    let of_key =
        |told: &Told<'_>| readers.of_key(conn, told.key.owner, told.key.backup, told.moment.step <= ADMINS);
    due.iter().map(of_key).collect()
}

impl Told<'_> {
    fn mark(&self) -> Mark {
        (self.key.id, self.key.secret, self.ends_at, self.moment.step)
    }

    fn noted(&self, now: Time) -> NoticeRow {
        let (key_id, secret_id, ends_at, step) = self.mark();
        NoticeRow { org_id: self.key.org, key_id, secret_id, ends_at, step, created_at: now }
    }

    /// The row of a reader. Its mail is one of `mails`, or the letter is left to be bundled.
    fn row(&self, letter: &Letter, reader: &Reader, mails: &mut Vec<Draft>, now: Time) -> Result<ReaderRow> {
        let letter = letter.to(reader.why);
        let (mail_id, letter) = match letter {
            Letter::Expiring(letter) if letter.step >= DAY => {
                (None, Some(serde_json::to_string(&letter).map_err(Error::internal)?))
            }
            letter => {
                let draft = Draft::new(reader.person.recipient(Some(self.key.org)), letter, now);
                let id = draft.id;
                mails.push(draft);
                (Some(id), None)
            }
        };
        let (key_id, secret_id, ends_at, step) = self.mark();
        let person_id = reader.person.id;
        Ok(ReaderRow { org_id: self.key.org, key_id, secret_id, ends_at, step, person_id, mail_id, letter })
    }
}
