//! Finding due notices and sending them, in batches.
//!
//! Every key stores when it has to be checked next; changing its expiry resets that to the earliest time.
//! So a sweep reads only keys that may be due, however many there are, and then decides on current data. A
//! notice's rows are written in one transaction with its e-mail or, for steps of a day or more, with the
//! content that is bundled into one e-mail per recipient.

use std::collections::{BTreeMap, HashSet};

use diesel::prelude::*;

use crate::db::{Conn, Db, Tx, each};
use crate::error::{Error, Result};
use crate::id::{KeyId, MailId, OrgId, SecretId, UserId};
use crate::mail::outbox::{self, NewMail};
use crate::notices::due_notice::{DueKey, DueNotice, Facts, NoticeContent};
use crate::notices::preference;
use crate::notices::recipients::{NoticeRecipient, RecipientCache};
use crate::notices::schedule::{END, Steps};
use crate::schema::{api_keys, key_secrets, notice_readers, notices, people};
use crate::time::{DAY, Time};

/// How many keys a transaction checks.
const BATCH: i64 = 500;
/// How many rows one statement writes.
const ROWS: usize = 100;
/// Expiries longer ago than this get no notice.
const STALE: i64 = 7 * DAY;
/// From this step on, admins receive notices too.
const ADMINS: i64 = 7 * DAY;

/// A row of `notice_readers`. Sets every column, so that one statement can insert many.
#[derive(Insertable)]
#[diesel(table_name = notice_readers, treat_none_as_default_value = false)]
struct RecipientRow {
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

/// When the next key has to be checked, if any.
pub fn next_at(conn: &mut Conn) -> Result<Option<Time>> {
    Ok(api_keys::table
        .filter(api_keys::notice_at.is_not_null())
        .order(api_keys::notice_at)
        .select(api_keys::notice_at)
        .first::<Option<Time>>(conn)
        .optional()?
        .flatten())
}

/// Checks one batch of due keys; returns how many these were. Keys that another process is checking are
/// skipped.
pub fn sweep(tx: &mut Tx<'_>, steps: &Steps, now: Time) -> Result<usize> {
    check(tx, BATCH, steps, now)
}

/// [`sweep`], but skips unreadable keys.
pub async fn sweep_readable(db: &Db, steps: &Steps, now: Time) -> Result<usize> {
    let check_batch = |most: i64| {
        let steps = steps.clone();
        db.write(move |tx| check(tx, most, &steps, now))
    };
    match check_batch(BATCH).await {
        Err(error) if error.is_unreadable() => {}
        checked => return checked,
    }
    // Checks one key at a time to find the unreadable ones.
    let mut checked = 0;
    for _ in 0..BATCH {
        checked += match check_batch(1).await {
            Err(error) if error.is_unreadable() => {
                tracing::error!(cause = ?error, "skipping the notices of an unreadable key; retrying in a day");
                db.write(move |tx| postpone(tx, now)).await?
            }
            Ok(0) => break,
            one => one?,
        };
    }
    Ok(checked)
}

/// Postpones the first due key by a day.
fn postpone(tx: &mut Tx<'_>, now: Time) -> Result<usize> {
    let due = api_keys::table.filter(api_keys::notice_at.le(now)).order(api_keys::notice_at);
    let first: Option<Vec<u8>> = due.select(api_keys::id).first(tx.conn).optional()?;
    let these = api_keys::table.filter(api_keys::id.nullable().eq(first));
    Ok(diesel::update(these).set(api_keys::notice_at.eq(now.plus(DAY))).execute(tx.conn)?)
}

fn check(tx: &mut Tx<'_>, most: i64, steps: &Steps, now: Time) -> Result<usize> {
    let due = api_keys::table
        .filter(api_keys::notice_at.le(now))
        .order(api_keys::notice_at)
        .limit(most)
        .select(api_keys::id);
    let ids: Vec<KeyId> = match tx.conn {
        Conn::Postgres(conn) => due.for_update().skip_locked().load(conn)?,
        // SQLite's transaction has locked everything already.
        Conn::Sqlite(conn) => due.load(conn)?,
    };
    let mut orgs: BTreeMap<OrgId, Vec<DueKey>> = BTreeMap::new();
    for key in load(tx.conn, &ids)? {
        orgs.entry(key.org).or_default().push(key);
    }
    let mut next: BTreeMap<Option<Time>, Vec<KeyId>> = BTreeMap::new();
    for (org, keys) in &orgs {
        let due = due_of(keys, steps, now, &mut next);
        send(tx, *org, due, now)?;
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

/// The keys with a due notice; adds to `next` when each key has to be checked again.
fn due_of<'a>(
    keys: &'a [DueKey],
    steps: &Steps,
    now: Time,
    next: &mut BTreeMap<Option<Time>, Vec<KeyId>>,
) -> Vec<DueNotice<'a>> {
    let mut due = Vec::new();
    for key in keys {
        let Some(ends_at) = key.ends_at.filter(|_| key.revoked_at.is_none()) else {
            next.entry(None).or_default().push(key.id);
            continue;
        };
        let moments = key.moments(steps, ends_at);
        let later = moments.iter().map(|moment| moment.at).find(|at| *at > now);
        next.entry(later).or_default().push(key.id);
        // Of several notices that have come due since the last check, only the latest is sent.
        let come = moments.into_iter().rev().find(|moment| moment.at <= now);
        let fresh = come.filter(|moment| moment.step > END || now.since(moment.at) < STALE);
        if let Some(moment) = fresh.filter(|_| key.disabled_at.is_none()) {
            due.push(DueNotice { key, ends_at, moment });
        }
    }
    due
}

/// Sends the due notices of one organisation's keys.
fn send(tx: &mut Tx<'_>, org: OrgId, mut due: Vec<DueNotice<'_>>, now: Time) -> Result<()> {
    let known = known(tx.conn, org, &due)?;
    due.retain(|notice| !known.contains(&notice.mark()));
    if due.is_empty() {
        return Ok(());
    }
    let facts = Facts::load(tx.conn, org, &due, now)?;
    let readers = readers_of(tx.conn, org, &due)?;
    let everyone = readers.iter().flatten().map(|reader| reader.person.id).collect::<HashSet<_>>();
    let wishes = preference::of_people(tx.conn, everyone)?;
    let (mut rows, mut mails) = (Vec::new(), Vec::new());
    for (notice, readers) in due.iter().zip(readers) {
        let Some(letter) = facts.content(notice) else { continue };
        for reader in readers {
            if wishes.get(&reader.person.id).is_none_or(|wish| wish.wants(notice.moment.step)) {
                rows.push(notice.recipient_row(&letter, &reader, &mut mails, now)?);
            }
        }
    }
    let noted: Vec<NoticeRow> = due.iter().map(|notice| notice.notice_row(now)).collect();
    for rows in noted.chunks(ROWS) {
        each!(tx.conn, |c| diesel::insert_into(notices::table).values(rows).execute(c))?;
    }
    for rows in rows.chunks(ROWS) {
        each!(tx.conn, |c| diesel::insert_into(notice_readers::table).values(rows).execute(c))?;
    }
    outbox::queue_all(tx, &mails, now)
}

type Mark = (KeyId, SecretId, Time, i64);

/// The notices that were already sent about these keys.
fn known(conn: &mut Conn, org: OrgId, due: &[DueNotice<'_>]) -> Result<HashSet<Mark>> {
    let keys = due.iter().map(|notice| notice.key.id);
    let rows: Vec<Mark> = notices::table
        .filter(notices::org_id.eq(org).and(notices::key_id.eq_any(keys)))
        .select((notices::key_id, notices::secret_id, notices::ends_at, notices::step))
        .load(conn)?;
    Ok(rows.into_iter().collect())
}

/// The recipients of each notice.
fn readers_of(conn: &mut Conn, org: OrgId, due: &[DueNotice<'_>]) -> Result<Vec<Vec<NoticeRecipient>>> {
    let mut readers = RecipientCache::of(org);
    readers.preload(
        conn,
        due.iter().flat_map(|notice| std::iter::once(notice.key.owner).chain(notice.key.backup)),
    )?;
    let of_key = |notice: &DueNotice<'_>| {
        readers.of_key(conn, notice.key.owner, notice.key.backup, notice.moment.step <= ADMINS)
    };
    due.iter().map(of_key).collect()
}

impl DueNotice<'_> {
    fn mark(&self) -> Mark {
        (self.key.id, self.key.secret, self.ends_at, self.moment.step)
    }

    fn notice_row(&self, now: Time) -> NoticeRow {
        let (key_id, secret_id, ends_at, step) = self.mark();
        NoticeRow { org_id: self.key.org, key_id, secret_id, ends_at, step, created_at: now }
    }

    /// The row of a recipient. Adds its e-mail to `mails`, or leaves its content to be bundled.
    fn recipient_row(
        &self,
        letter: &NoticeContent,
        reader: &NoticeRecipient,
        mails: &mut Vec<NewMail>,
        now: Time,
    ) -> Result<RecipientRow> {
        let letter = letter.to(reader.why);
        let (mail_id, letter) = match letter {
            NoticeContent::Expiring(letter) if letter.step >= DAY => {
                (None, Some(serde_json::to_string(&letter).map_err(Error::internal)?))
            }
            letter => {
                let draft = NewMail::new(reader.person.recipient(Some(self.key.org)), letter, now);
                let id = draft.id;
                mails.push(draft);
                (Some(id), None)
            }
        };
        let (key_id, secret_id, ends_at, step) = self.mark();
        let person_id = reader.person.id;
        Ok(RecipientRow {
            org_id: self.key.org,
            key_id,
            secret_id,
            ends_at,
            step,
            person_id,
            mail_id,
            letter,
        })
    }
}
