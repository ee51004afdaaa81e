//! The end of a log, as its row holds it: authenticated under a key that is derived from the root
//! secret, so that whoever can write to the database, but does not know the secret, can't change it
//! unnoticed.
//!
//! Once a log is found to be broken it stays so until an operator recovers it
//! ([`crate::audit::recovery`]). Entries are appended all the same, so that nobody can prevent
//! a revocation by damaging the log, but nothing is signed.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::tree::{self, Edge, Hash};
use crate::crypto::sha256;
use crate::db::{Conn, LogGuard, Mark, Tx, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::installation;
use crate::schema::{audit_entries, audit_heads, organizations};
use crate::time::Time;

/// A row of `audit_heads`, with its columns in their order.
#[derive(Clone, Debug, Queryable)]
pub struct Row {
    /// Whose log it is.
    pub org: OrgId,
    /// How many entries it has.
    pub size: i64,
    /// How many of them are in the tree: all, unless the log is broken.
    pub hashed: i64,
    /// The right edge of the tree.
    pub edge: Option<Vec<u8>>,
    /// The name under which checkpoints are signed.
    pub origin: Option<String>,
    /// How many entries were found unbroken.
    pub checked: i64,
    /// When.
    pub checked_at: Option<Time>,
    /// When all entries were last checked.
    pub whole_at: Option<Time>,
    /// The first bad entry of a broken log.
    pub broken_at: Option<i64>,
    /// A digest of all kept checkpoints.
    pub kept: Option<Vec<u8>>,
    /// How many entries the last of them is about.
    pub kept_size: i64,
    /// The register that was in force when the row was last written.
    pub epoch: i64,
    /// What is wrong with a broken log.
    pub broken_why: Option<String>,
    /// When admins were notified of that.
    pub alarmed_at: Option<Time>,
    /// Authenticates all of the above.
    pub mac: Option<Vec<u8>>,
}

/// Why a row can't be relied on.
pub const CHANGED: &str = "the end of the log was changed without the root secret";
const MISSING: &str = "the end of the log is missing from the database";
const OLDER: &str = "the log was put back to an older state";
/// How many positions are read at once.
const BATCH: i64 = 10_000;

/// No log comes so far; what stands there was put there by somebody else.
const MOST: i64 = 1 << 62;

/// The row of a log. One that can't be read is told as one that is not authentic.
pub fn find(conn: &mut Conn, org: OrgId) -> Result<Option<Row>> {
    match audit_heads::table.find(org).first(conn).optional() {
        Err(DieselError::DeserializationError(_)) => Ok(Some(Row::unreadable(org))),
        row => Ok(row?),
    }
}

/// The row of a log and the position of its last entry, as of one moment.
pub fn find_with_last(conn: &mut Conn, org: OrgId) -> Result<(Option<Row>, Option<i64>)> {
    let last = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .select(diesel::dsl::max(audit_entries::position))
        .single_value();
    let found = audit_heads::table.find(org).select((audit_heads::all_columns, last));
    match found.first::<(Row, Option<i64>)>(conn).optional() {
        Ok(Some((row, last))) => Ok((Some(row), last)),
        Ok(None) | Err(DieselError::DeserializationError(_)) => {
            let last = next_position(conn, org)?.checked_sub(1).filter(|last| *last >= 0);
            Ok((find(conn, org)?, last))
        }
        Err(error) => Err(error.into()),
    }
}

/// The rows of all logs.
pub fn all(conn: &mut Conn) -> Result<Vec<Row>> {
    match audit_heads::table.order(audit_heads::org_id).load(conn) {
        // Which of them can't be read is found one by one.
        Err(DieselError::DeserializationError(_)) => {
            let orgs = readable(audit_heads::table.select(audit_heads::org_id).load(conn)?);
            let rows = orgs.into_iter().map(|org| find(conn, org));
            rows.filter_map(Result::transpose).collect()
        }
        rows => Ok(rows?),
    }
}

/// The row of a log, locked until the transaction ends. A log that has none gets an empty one, which
/// is not authenticated.
pub fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<Row> {
    let row = each!(tx.conn, |c| {
        diesel::insert_into(audit_heads::table)
            .values((audit_heads::org_id.eq(org), audit_heads::size.eq(0_i64)))
            .on_conflict(audit_heads::org_id)
            .do_update()
            .set(audit_heads::org_id.eq(org))
            .returning(audit_heads::all_columns)
            .get_result(c)
    });
    match row {
        Err(DieselError::DeserializationError(_)) => Ok(Row::unreadable(org)),
        row => Ok(row?),
    }
}

/// The row of a log about which something may be signed. Error: `LogBroken`.
pub fn sound(tx: &mut Tx<'_>, org: OrgId) -> Result<Row> {
    // Read before the row, so that it can't be ahead of it.
    let mark = tx.logs.mark(org);
    match find(tx.conn, org)? {
        Some(row) => row.into_sound(tx.logs, mark),
        None => Err(broken(0, MISSING)),
    }
}

/// [`sound`], locked.
pub fn lock_sound(tx: &mut Tx<'_>, org: OrgId) -> Result<Row> {
    let row = lock(tx, org)?;
    let mark = tx.logs.mark(org);
    row.into_sound(tx.logs, mark)
}

/// A position behind all entries, whatever the row says. Where somebody has put an entry so far out
/// that there is none, it is the first free one behind as many as there are.
pub fn next_position(conn: &mut Conn, org: OrgId) -> Result<i64> {
    let own = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .filter(audit_entries::position.ge(0).and(audit_entries::position.lt(MOST)));
    let last: Option<i64> = own.select(diesel::dsl::max(audit_entries::position)).first(conn)?;
    let next = last.map_or(0, |last| last + 1);
    if next < MOST {
        return Ok(next);
    }
    let mut free: i64 = own.count().get_result(conn)?;
    loop {
        let taken: Vec<i64> = own
            .filter(audit_entries::position.ge(free))
            .order(audit_entries::position)
            .select(audit_entries::position)
            .limit(BATCH)
            .load(conn)?;
        let run = taken.iter().zip(free..).take_while(|(position, expected)| *position == expected).count();
        free += run as i64;
        if run < taken.len() || taken.is_empty() {
            return Ok(free);
        }
    }
}

fn broken(index: i64, why: &str) -> Error {
    Error::LogBroken { index: index.cast_unsigned(), why: why.to_owned() }
}

/// Marks a log as broken, unless it already is. Error: `Unavailable` where the root secret was
/// replaced and this process still has the one before, so that it can't judge.
pub fn mark_broken(tx: &mut Tx<'_>, org: OrgId, index: Option<i64>, why: &str) -> Result<()> {
    let exists = organizations::table.find(org).select(organizations::id).first::<OrgId>(tx.conn);
    if exists.optional()?.is_none() {
        tracing::error!(organization = %org, "an organisation with an audit log is missing from the database");
        return Ok(());
    }
    let mut row = lock(tx, org)?;
    row.break_at(tx, index, why)?;
    row.save(tx)
}

impl Row {
    /// Whether it is as [`lock`] makes it.
    pub fn is_blank(&self) -> bool {
        self.mac.is_none() && self.message() == Row::empty(self.org).message()
    }

    /// Why the row is not what this installation has written, if it is not. `mark` is what the
    /// process knew before it read the row.
    pub fn fault(&self, logs: &LogGuard, mark: Option<Mark>) -> Result<Option<&'static str>> {
        let Some(mac) = &self.mac else {
            return Ok(Some(if self.is_blank() && mark.is_none() { MISSING } else { CHANGED }));
        };
        if !logs.seal()?.accepts(&self.message(), mac) {
            return Ok(Some(CHANGED));
        }
        // What is known to be broken may have been cut back; it is not relied on anyway.
        let mark = mark.filter(|_| self.broken_at.is_none());
        let older = mark.is_some_and(|mark| {
            self.size < mark.size || (self.size == mark.size && self.state() != mark.state)
        });
        Ok(older.then_some(OLDER))
    }

    fn into_sound(self, logs: &LogGuard, mark: Option<Mark>) -> Result<Row> {
        match (self.fault(logs, mark)?, self.broken_at) {
            (Some(why), _) => Err(broken(self.hashed.max(0), why)),
            (None, Some(index)) => Err(broken(index, self.broken_why.as_deref().unwrap_or(CHANGED))),
            (None, None) => Ok(self),
        }
    }

    /// The right edge of the tree; `None` where the columns do not fit.
    pub fn tree(&self) -> Option<Edge> {
        Edge::from_bytes(self.hashed.cast_unsigned(), self.edge.as_deref().unwrap_or_default())
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        self.tree().unwrap_or_default().root()
    }

    /// Notes that the log is broken from `index` on; from its end on where that is not known yet. The
    /// first finding stays, until admins are notified of a more exact one.
    pub fn break_at(&mut self, tx: &mut Tx<'_>, index: Option<i64>, why: &str) -> Result<()> {
        let is_authentic = match &self.mac {
            Some(mac) => tx.logs.seal()?.accepts(&self.message(), mac),
            None => false,
        };
        if !is_authentic {
            if !installation::is_own(tx.conn, tx.logs.seal()?)? {
                if tx.logs.change_seal(|seal| installation::is_own(tx.conn, seal))? {
                    return Err(Error::again("the root secret of the database was replaced"));
                }
                let why =
                    "the root secret of the database was replaced; restart this process with the new one";
                return Err(Error::Unavailable(why.into()));
            }
            // Nothing of what the row says may be authenticated from here on as if it were ours.
            let size = next_position(tx.conn, self.org)?;
            *self = Row { size, origin: self.origin.take(), ..Row::empty(self.org) };
        }
        if is_authentic && why == CHANGED {
            // It was looked at under the root secret that has just been replaced.
            return Err(Error::again("the root secret of the database was replaced"));
        }
        if self.broken_at.is_none() {
            tracing::error!(organization = %self.org, entry = index, why, "the audit log is broken");
        } else if index.is_none() || self.alarmed_at.is_some() {
            return Ok(());
        }
        self.broken_at = Some(index.unwrap_or(self.hashed.max(0)));
        self.broken_why = Some(why.to_owned());
        Ok(())
    }

    /// In place of a row that can't be read. It has no code, and [`Row::is_blank`] does not hold.
    fn unreadable(org: OrgId) -> Row {
        Row { size: -1, ..Row::empty(org) }
    }

    fn empty(org: OrgId) -> Row {
        Row {
            org,
            size: 0,
            hashed: 0,
            edge: None,
            origin: None,
            checked: 0,
            checked_at: None,
            whole_at: None,
            broken_at: None,
            kept: None,
            kept_size: 0,
            epoch: 0,
            broken_why: None,
            alarmed_at: None,
            mac: None,
        }
    }

    /// Adds a checkpoint to the digest of those that are kept.
    pub fn keep(&mut self, size: i64, note: &str) {
        self.kept = Some(chain(self.kept.as_deref(), note).to_vec());
        self.kept_size = size;
    }

    /// Authenticates the row and writes it.
    pub fn save(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.epoch = self.epoch.max(tx.logs.epoch());
        self.mac = Some(tx.logs.seal()?.code(&self.message()).to_vec());
        diesel::update(audit_heads::table.find(self.org))
            .set((
                audit_heads::size.eq(self.size),
                audit_heads::hashed.eq(self.hashed),
                audit_heads::edge.eq(self.edge.as_deref()),
                audit_heads::origin.eq(self.origin.as_deref()),
                audit_heads::checked.eq(self.checked),
                audit_heads::checked_at.eq(self.checked_at),
                audit_heads::whole_at.eq(self.whole_at),
                audit_heads::broken_at.eq(self.broken_at),
                audit_heads::kept.eq(self.kept.as_deref()),
                audit_heads::kept_size.eq(self.kept_size),
                audit_heads::epoch.eq(self.epoch),
                audit_heads::broken_why.eq(self.broken_why.as_deref()),
                audit_heads::alarmed_at.eq(self.alarmed_at),
                audit_heads::mac.eq(self.mac.as_deref()),
            ))
            .execute(tx.conn)?;
        tx.note_log(self.org, self.mark());
        Ok(())
    }

    /// What a process remembers of it.
    pub fn mark(&self) -> Mark {
        Mark { size: self.size, state: self.state(), is_broken: self.broken_at.is_some() }
    }

    /// A digest of what can't change while the log does not grow.
    fn state(&self) -> Hash {
        let broken = [u8::from(self.broken_at.is_some())];
        sha256(&[self.edge.as_deref().unwrap_or_default(), &broken].concat())
    }

    /// What the code authenticates: each column once, in a form that no other row has.
    pub fn message(&self) -> Vec<u8> {
        let mut message = b"keydesk audit head 1\0".to_vec();
        message.extend_from_slice(self.org.bytes());
        for number in [self.size, self.hashed, self.checked, self.kept_size, self.epoch] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        let times = [self.checked_at, self.whole_at, self.alarmed_at].map(|at| at.map(Time::micros));
        for number in times.into_iter().chain([self.broken_at]) {
            message.push(u8::from(number.is_some()));
            message.extend_from_slice(&number.unwrap_or_default().to_be_bytes());
        }
        let texts = [self.origin.as_deref(), self.broken_why.as_deref()].map(|text| text.map(str::as_bytes));
        for bytes in [self.edge.as_deref(), self.kept.as_deref()].into_iter().chain(texts) {
            message.push(u8::from(bytes.is_some()));
            let bytes = bytes.unwrap_or_default();
            message.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            message.extend_from_slice(bytes);
        }
        message
    }
}

/// The digest of kept checkpoints and one more.
pub fn chain(before: Option<&[u8]>, note: &str) -> tree::Hash {
    sha256(&[before.unwrap_or_default(), note.as_bytes()].concat())
}
