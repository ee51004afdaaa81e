//! The register of logs: the size and root of every log at the last check, and whether it was broken, in
//! one row that is authenticated as a whole. An old copy of one organisation's log contradicts it.
//!
//! The first start of an installation writes the register, and each organisation is added in the
//! transaction that creates it. So it is a fault if the register is missing, if an organisation has no
//! log, or if a log is not in the register. Only [`crate::audit::recovery`] replaces a lost register:
//! anything else would vouch for whatever is in the database by then.
//!
//! Each version of the register has a number, its epoch, which a log's head copies when it is written. So
//! an old copy of the register contradicts newer heads. An old copy of all logs together with the register
//! is consistent; only a checkpoint kept elsewhere reveals it.

use std::collections::{BTreeMap, BTreeSet};

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::head::{self, CHANGED, HeadRow};
use crate::audit::store::StoredNodes;
use crate::audit::tree::{self, Edge, Hash};
use crate::crypto::LogSeal;
use crate::db::{Conn, LogGuard, Tx, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::{audit_entries, audit_heads, audit_register as row, organizations};

const ID: i16 = 1;
const RECORD: usize = 16 + 8 + 32;
/// The bit of a size that marks the log as broken.
const BROKEN: u64 = 1 << 63;

/// The fault of all logs if the register can't be read.
pub const LOST: &str = "the register of all logs is missing or was changed without the root secret";
/// The fault of a log that the register doesn't list.
pub const UNKNOWN: &str = "the register of all logs does not know this log";
/// The fault of a log that the register lists as broken but that isn't marked so.
pub const PUT_BACK: &str = "the log was found broken before and put back without a recovery";
const REGISTER_OLDER: &str = "the register of all logs was put back to an older state";
const BEGUN_AGAIN: &str = "the log was deleted and begun again";
const GONE: &str = "the log was deleted";
const CUT: &str = "the log was put back to an older state";
const OTHER: &str = "the log does not continue the state in the register";
const END_GONE: &str =
    "the last entry is missing, or entries were added outside the log without the root secret";

/// The parsed register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    pub epoch: i64,
    pub logs: BTreeMap<OrgId, LogRecord>,
}

/// The register's record of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub size: u64,
    pub root: Hash,
    /// Only a recovery resets this.
    pub is_broken: bool,
}

/// The result of checking all logs against the register.
#[derive(Debug, Default)]
pub struct RegisterCheck {
    /// Intact logs, and logs already marked as broken.
    known: Vec<HeadRow>,
    /// The latest register epoch that any log or this process has seen.
    latest: i64,
    /// Whether the register exists and has that epoch.
    is_current: bool,
    pub is_behind: bool,
    /// Broken logs that are not marked yet, with their faults.
    pub faults: Vec<(OrgId, &'static str)>,
}

impl Register {
    /// Writes the empty register of a new installation.
    pub fn begin(tx: &mut Tx<'_>, seal: &LogSeal) -> Result<()> {
        Register::default().store(tx.conn, seal)
    }

    /// Reads the register; `None` if it is missing or not authentic.
    pub fn read(conn: &mut Conn, logs: &LogGuard) -> Result<Option<Register>> {
        let stored = row::table.find(ID).select((row::epoch, row::logs, row::mac));
        let (epoch, bytes, mac) = match stored.first::<(i64, Vec<u8>, Vec<u8>)>(conn).optional() {
            Ok(Some(stored)) => stored,
            // A register that can't be parsed was not written by Keydesk.
            Ok(None) | Err(DieselError::DeserializationError(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !logs.seal()?.accepts(&message(epoch, &bytes), &mac) {
            return Ok(None);
        }
        let (records, _) = bytes.as_chunks::<RECORD>();
        Ok(Some(Register { epoch, logs: records.iter().filter_map(read_record).collect() }))
    }

    /// [`Register::read`], locked until the transaction ends.
    pub fn lock(tx: &mut Tx<'_>) -> Result<Option<Register>> {
        Register::lock_row(tx)?;
        Register::read(tx.conn, tx.logs)
    }

    /// Locks the register until the transaction ends.
    pub fn lock_row(tx: &mut Tx<'_>) -> Result<()> {
        diesel::update(row::table.find(ID)).set(row::id.eq(ID)).execute(tx.conn)?;
        Ok(())
    }

    /// Writes the register with the next epoch.
    pub fn write(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.epoch = self.epoch.max(tx.logs.epoch()) + 1;
        self.store(tx.conn, tx.logs.seal()?)?;
        tx.note_epoch(self.epoch);
        Ok(())
    }

    pub fn store(&self, conn: &mut Conn, seal: &LogSeal) -> Result<()> {
        let mut bytes = Vec::with_capacity(self.logs.len() * RECORD);
        for (org, anchor) in &self.logs {
            bytes.extend_from_slice(org.bytes());
            let size = if anchor.is_broken { anchor.size | BROKEN } else { anchor.size };
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&anchor.root);
        }
        let mac = seal.code(&message(self.epoch, &bytes));
        let values = (row::epoch.eq(self.epoch), row::logs.eq(bytes.as_slice()), row::mac.eq(mac.as_slice()));
        each!(conn, |c| {
            diesel::insert_into(row::table)
                .values((row::id.eq(ID), values))
                .on_conflict(row::id)
                .do_update()
                .set(values)
                .execute(c)
        })?;
        Ok(())
    }

    /// Records the current state of a log; of a broken one, only that it is broken.
    pub fn record(&mut self, head: &HeadRow) {
        if head.broken_at.is_some() {
            self.record_broken(head.org);
        } else {
            let size = head.hashed.cast_unsigned();
            self.logs.insert(head.org, LogRecord { size, root: head.root(), is_broken: false });
        }
    }

    fn record_broken(&mut self, org: OrgId) {
        let nothing = LogRecord { size: 0, root: Edge::default().root(), is_broken: true };
        self.logs.entry(org).or_insert(nothing).is_broken = true;
    }
}

fn message(epoch: i64, logs: &[u8]) -> Vec<u8> {
    [b"keydesk audit register 1\0".as_slice(), &epoch.to_be_bytes(), logs].concat()
}

fn read_record(record: &[u8; RECORD]) -> Option<(OrgId, LogRecord)> {
    let (org, rest) = record.split_first_chunk::<16>()?;
    let (size, root) = rest.split_first_chunk::<8>()?;
    let size = u64::from_be_bytes(*size);
    let anchor =
        LogRecord { size: size & !BROKEN, root: root.try_into().ok()?, is_broken: size & BROKEN != 0 };
    Some((OrgId::from_bytes(*org), anchor))
}

/// Adds the log of an organisation that this transaction creates. Returns a fault if the log can't be
/// new.
pub fn add(tx: &mut Tx<'_>, org: OrgId) -> Result<Option<&'static str>> {
    let Some(mut register) = Register::lock(tx)? else { return Ok(Some(LOST)) };
    if register.logs.contains_key(&org) || tx.logs.mark(org).is_some() {
        return Ok(Some(BEGUN_AGAIN));
    }
    if register.epoch < latest(&head::all(tx.conn)?, tx.logs) {
        return Ok(Some(REGISTER_OLDER));
    }
    register.logs.insert(org, LogRecord { size: 0, root: Edge::default().root(), is_broken: false });
    register.write(tx)?;
    Ok(None)
}

/// The latest register epoch that an authentic head or this process has seen.
fn latest(heads: &[HeadRow], logs: &LogGuard) -> i64 {
    let authentic = heads.iter().filter(|head| head.fault(logs, None).is_ok_and(|fault| fault.is_none()));
    authentic.map(|head| head.epoch).max().unwrap_or(0).max(logs.epoch())
}

/// Checks that each log exists, is authentic, ends with its last entry, and continues the state that the
/// register and this process know. Changes nothing.
pub fn check(conn: &mut Conn, logs: &LogGuard) -> Result<RegisterCheck> {
    // The known state is read first and the logs last: they only grow.
    let marks = logs.all_marks();
    let before = Register::read(conn, logs)?.unwrap_or_default();
    let orgs: Vec<OrgId> = readable(organizations::table.select(organizations::id).load(conn)?);
    let heads = head::all(conn)?;
    let cut = without_end(conn)?;
    // By now the register contains every log whose head was read, with its epoch.
    let register = Register::read(conn, logs)?;
    let mut found = RegisterCheck { latest: latest(&heads, logs), ..RegisterCheck::default() };
    let all = match &register {
        None => Some(LOST),
        Some(register) if register.epoch < found.latest => Some(REGISTER_OLDER),
        Some(register) => {
            logs.saw_epoch(register.epoch);
            found.is_current = true;
            None
        }
    };
    let register = register.unwrap_or_default();
    let expected: BTreeSet<OrgId> =
        orgs.into_iter().chain(before.logs.keys().copied()).chain(marks.keys().copied()).collect();
    let gone = expected.into_iter().filter(|org| !heads.iter().any(|head| head.org == *org));
    found.faults.extend(gone.map(|org| (org, GONE)));
    for head in heads {
        let anchor = before.logs.get(&head.org);
        let fault = match head.fault(logs, marks.get(&head.org).copied())? {
            Some(why) => Some(why),
            None if head.broken_at.is_some() => {
                logs.note(head.org, head.mark());
                found.is_behind |= anchor.is_none_or(|anchor| !anchor.is_broken);
                found.known.push(head);
                continue;
            }
            None if all.is_some() => all,
            None if !register.logs.contains_key(&head.org) => Some(UNKNOWN),
            None if anchor.is_some_and(|anchor| anchor.is_broken) => Some(PUT_BACK),
            None if cut.contains(&head.org) => Some(END_GONE),
            None => None,
        };
        let fault = match (fault, anchor) {
            (None, Some(anchor)) => continues(conn, &head, anchor)?,
            (fault, _) => fault,
        };
        match fault {
            Some(why) => found.faults.push((head.org, why)),
            None => {
                found.is_behind |= anchor.is_none_or(|anchor| anchor.size != head.hashed.cast_unsigned());
                found.known.push(head);
            }
        }
    }
    found.is_behind &= found.is_current;
    Ok(found)
}

/// The logs whose last entry is not the one in their head: it is missing, or there are entries after it
/// or before the first.
fn without_end(conn: &mut Conn) -> Result<Vec<OrgId>> {
    let last = audit_entries::table.filter(
        audit_entries::org_id
            .eq(audit_heads::org_id)
            .and(audit_entries::position.eq(audit_heads::size - 1_i64)),
    );
    let outside = audit_entries::table.filter(
        audit_entries::org_id
            .eq(audit_heads::org_id)
            .and(audit_entries::position.ge(audit_heads::size).or(audit_entries::position.lt(0))),
    );
    let orgs = audit_heads::table.filter(not(exists(last)).or(exists(outside))).select(audit_heads::org_id);
    Ok(readable(orgs.load(conn)?))
}

/// The fault of a log that doesn't continue its registered state, if any.
fn continues(conn: &mut Conn, head: &HeadRow, anchor: &LogRecord) -> Result<Option<&'static str>> {
    let Some(tree) = head.tree() else { return Ok(Some(CHANGED)) };
    let (size, root) = (tree.size(), tree.root());
    if size < anchor.size {
        return Ok(Some(CUT));
    }
    if size == anchor.size || anchor.size == 0 {
        return Ok((size == anchor.size && root != anchor.root).then_some(OTHER));
    }
    match tree::consistency(anchor.size, size, &mut StoredNodes { conn, org: head.org }) {
        Ok(proof) => Ok((!tree::extends(anchor.size, &anchor.root, size, &root, &proof)).then_some(OTHER)),
        Err(Error::Unavailable(cause)) => Err(Error::Unavailable(cause)),
        Err(_) => Ok(Some(OTHER)),
    }
}

/// Runs a [`check`] under a lock, marks broken logs, and updates the register unless it is lost or
/// outdated. Returns the latest known epoch.
pub fn update(tx: &mut Tx<'_>) -> Result<i64> {
    let register = Register::lock(tx)?;
    let found = check(tx.conn, tx.logs)?;
    for (org, why) in &found.faults {
        head::mark_broken(tx, *org, None, why)?;
    }
    if let Some(mut next) = register.filter(|_| found.is_current) {
        for head in &found.known {
            next.record(head);
        }
        for (org, _) in &found.faults {
            next.record_broken(*org);
        }
        next.write(tx)?;
    }
    Ok(found.latest)
}
