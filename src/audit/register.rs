//! The register of logs: how large each log was, which root it had at the last look, and whether it
//! was broken, in one row that is authenticated as a whole. An old copy of one organisation's log does
//! not fit it.
//!
//! The first start of an installation writes the register, and each organisation is entered in the
//! transaction that creates it. So it is a fault if the register is missing, if an organisation has no
//! log, or if a log is not in the register. Nothing but [`crate::audit::recovery`] writes a register
//! in place of a lost one: it would vouch for whatever is in the database by then.
//!
//! Each writing of the register has the next number, its epoch, which every row of a log takes over
//! when it is written next. So an old copy of the register does not fit the logs that went on. An old
//! copy of all logs and the register together does fit; only a checkpoint kept elsewhere shows that.

use std::collections::{BTreeMap, BTreeSet};

use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::audit::head::{self, CHANGED, Row};
use crate::audit::store::Stored;
use crate::audit::tree::{self, Edge, Hash};
use crate::crypto::LogSeal;
use crate::db::{Conn, LogGuard, Tx, each};
use crate::error::{Error, Result};
use crate::id::{OrgId, readable};
use crate::schema::{audit_entries, audit_heads, audit_register as row, organizations};

const ID: i16 = 1;
const RECORD: usize = 16 + 8 + 32;
/// The bit of a size that says that the log was broken.
const BROKEN: u64 = 1 << 63;

/// Why a log is broken when the register can't be read.
pub const LOST: &str = "the register of all logs is missing or was changed without the root secret";
/// Why a log is broken that the register does not list.
pub const UNKNOWN: &str = "the register of all logs does not know this log";
/// Why a log is broken that the register knows as broken.
pub const PUT_BACK: &str = "the log was found broken before and put back without a recovery";
const REGISTER_OLDER: &str = "the register of all logs was put back to an older state";
const BEGUN_AGAIN: &str = "the log was deleted and begun again";
const GONE: &str = "the log was deleted";
const CUT: &str = "the log was put back to an older state";
const OTHER: &str = "the log does not continue what the register knows of it";
const END_GONE: &str =
    "the last entry is missing, or entries were added beside the log without the root secret";

/// The contents of the register.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    pub epoch: i64,
    pub logs: BTreeMap<OrgId, Anchor>,
}

/// The entry of a log in the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub size: u64,
    pub root: Hash,
    /// Whether it was broken; only a recovery ends that.
    pub is_broken: bool,
}

/// What a look at all logs has found.
#[derive(Debug, Default)]
pub struct Survey {
    /// Logs that are sound or known to be broken.
    known: Vec<Row>,
    /// The latest register of which a log or this process knows.
    latest: i64,
    /// Whether the register exists and is not older.
    is_current: bool,
    pub is_behind: bool,
    pub faults: Vec<(OrgId, &'static str)>,
}

impl Register {
    /// Begins the register of a new installation.
    pub fn begin(tx: &mut Tx<'_>, seal: &LogSeal) -> Result<()> {
        Register::default().store(tx.conn, seal)
    }

    /// The register; `None` where it is missing or not authentic.
    pub fn read(conn: &mut Conn, logs: &LogGuard) -> Result<Option<Register>> {
        let stored = row::table.find(ID).select((row::epoch, row::logs, row::mac));
        let (epoch, bytes, mac) = match stored.first::<(i64, Vec<u8>, Vec<u8>)>(conn).optional() {
            Ok(Some(stored)) => stored,
            // What can't be read was not written by us.
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
        Register::hold(tx)?;
        Register::read(tx.conn, tx.logs)
    }

    /// Keeps others from writing it until the transaction ends.
    pub fn hold(tx: &mut Tx<'_>) -> Result<()> {
        diesel::update(row::table.find(ID)).set(row::id.eq(ID)).execute(tx.conn)?;
        Ok(())
    }

    /// Writes it under the next number.
    pub fn write(&mut self, tx: &mut Tx<'_>) -> Result<()> {
        self.epoch = self.epoch.max(tx.logs.epoch()) + 1;
        self.store(tx.conn, tx.logs.seal()?)?;
        tx.note_epoch(self.epoch);
        Ok(())
    }

    /// Writes it as it is.
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

    /// Takes over what a log is now. Of a broken one, only that it is broken.
    pub fn take(&mut self, head: &Row) {
        if head.broken_at.is_some() {
            self.take_broken(head.org);
        } else {
            let size = head.hashed.cast_unsigned();
            self.logs.insert(head.org, Anchor { size, root: head.root(), is_broken: false });
        }
    }

    fn take_broken(&mut self, org: OrgId) {
        let nothing = Anchor { size: 0, root: Edge::default().root(), is_broken: true };
        self.logs.entry(org).or_insert(nothing).is_broken = true;
    }
}

fn message(epoch: i64, logs: &[u8]) -> Vec<u8> {
    [b"keydesk audit register 1\0".as_slice(), &epoch.to_be_bytes(), logs].concat()
}

fn read_record(record: &[u8; RECORD]) -> Option<(OrgId, Anchor)> {
    let (org, rest) = record.split_first_chunk::<16>()?;
    let (size, root) = rest.split_first_chunk::<8>()?;
    let size = u64::from_be_bytes(*size);
    let anchor = Anchor { size: size & !BROKEN, root: root.try_into().ok()?, is_broken: size & BROKEN != 0 };
    Some((OrgId::from_bytes(*org), anchor))
}

/// Enters the log of an organisation that this transaction creates. Returns why it can't be a new
/// log, if so.
pub fn enter(tx: &mut Tx<'_>, org: OrgId) -> Result<Option<&'static str>> {
    let Some(mut register) = Register::lock(tx)? else { return Ok(Some(LOST)) };
    if register.logs.contains_key(&org) || tx.logs.mark(org).is_some() {
        return Ok(Some(BEGUN_AGAIN));
    }
    if register.epoch < latest(&head::all(tx.conn)?, tx.logs) {
        return Ok(Some(REGISTER_OLDER));
    }
    register.logs.insert(org, Anchor { size: 0, root: Edge::default().root(), is_broken: false });
    register.write(tx)?;
    Ok(None)
}

/// The latest register of which an authentic log or this process knows.
fn latest(heads: &[Row], logs: &LogGuard) -> i64 {
    let authentic = heads.iter().filter(|head| head.fault(logs, None).is_ok_and(|fault| fault.is_none()));
    authentic.map(|head| head.epoch).max().unwrap_or(0).max(logs.epoch())
}

/// Looks at all logs: whether each is there and authentic, ends with its last entry, and continues what
/// the register and this process know of it. Changes nothing.
pub fn survey(conn: &mut Conn, logs: &LogGuard) -> Result<Survey> {
    // What is known is read first and the logs last: they only grow.
    let marks = logs.all_marks();
    let before = Register::read(conn, logs)?.unwrap_or_default();
    let orgs: Vec<OrgId> = readable(organizations::table.select(organizations::id).load(conn)?);
    let heads = head::all(conn)?;
    let cut = without_end(conn)?;
    // A log of which a head was read is in the register by now, and so is its epoch.
    let register = Register::read(conn, logs)?;
    let mut found = Survey { latest: latest(&heads, logs), ..Survey::default() };
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

/// The logs whose last entry is not the one that their row tells: it is gone, or there are others
/// behind it or before the first.
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

/// Why a log does not continue what it was, if it does not.
fn continues(conn: &mut Conn, head: &Row, anchor: &Anchor) -> Result<Option<&'static str>> {
    let Some(tree) = head.tree() else { return Ok(Some(CHANGED)) };
    let (size, root) = (tree.size(), tree.root());
    if size < anchor.size {
        return Ok(Some(CUT));
    }
    if size == anchor.size || anchor.size == 0 {
        return Ok((size == anchor.size && root != anchor.root).then_some(OTHER));
    }
    match tree::consistency(anchor.size, size, &mut Stored { conn, org: head.org }) {
        Ok(proof) => Ok((!tree::extends(anchor.size, &anchor.root, size, &root, &proof)).then_some(OTHER)),
        Err(Error::Unavailable(cause)) => Err(Error::Unavailable(cause)),
        Err(_) => Ok(Some(OTHER)),
    }
}

/// [`survey`] under a lock: marks what is broken, and brings the register up to date, unless it is lost
/// or an older one. Returns the latest register that is known.
pub fn update(tx: &mut Tx<'_>) -> Result<i64> {
    let register = Register::lock(tx)?;
    let found = survey(tx.conn, tx.logs)?;
    for (org, why) in &found.faults {
        head::mark_broken(tx, *org, None, why)?;
    }
    if let Some(mut next) = register.filter(|_| found.is_current) {
        for head in &found.known {
            next.take(head);
        }
        for (org, _) in &found.faults {
            next.take_broken(*org);
        }
        next.write(tx)?;
    }
    Ok(found.latest)
}
