//! The register of logs: how large each log was and which root it had at the last look, in one row
//! that is authenticated as a whole. An old copy of one organisation's log does not fit it.
//!
//! Each writing of the register has the next number, its epoch, which every row of a log takes over
//! when it is written next. So an old copy of the register does not fit the logs that went on. An old
//! copy of all logs and the register together does fit; only a checkpoint kept elsewhere shows that.

use std::collections::BTreeMap;

use diesel::prelude::*;

use crate::audit::head::{self, CHANGED, Row};
use crate::audit::store::Stored;
use crate::audit::tree::{self, Hash};
use crate::crypto::LogSeal;
use crate::db::{Conn, LogGuard, Tx, each};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::schema::audit_register as row;

const ID: i16 = 1;
const RECORD: usize = 16 + 8 + 32;

const LOST: &str = "the register of all logs is missing or was changed without the root secret";
const REGISTER_OLDER: &str = "the register of all logs was put back to an older state";
const BEGUN_AGAIN: &str = "the log was deleted and begun again";
const GONE: &str = "the log was deleted";
const CUT: &str = "the log was put back to an older state";
const OTHER: &str = "the log does not continue what the register knows of it";

/// What the register says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Register {
    /// How often it was written.
    pub epoch: i64,
    /// Each log.
    pub logs: BTreeMap<OrgId, Anchor>,
}

/// What the register says of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// How many entries it had.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

/// What a look at all logs has found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The logs that are as they should be.
    sound: Vec<Row>,
    /// The latest register of which a log or this process knows.
    latest: i64,
    /// Whether the register is behind.
    pub is_behind: bool,
    /// Which logs are broken and not marked so, and why.
    pub faults: Vec<(OrgId, &'static str)>,
}

impl Register {
    /// Begins the register of a new installation.
    pub fn begin(tx: &mut Tx<'_>, seal: &LogSeal) -> Result<()> {
        Register::default().store(tx.conn, seal)
    }

    /// The register; `None` where it is missing or not authentic.
    pub fn read(conn: &mut Conn, logs: &LogGuard) -> Result<Option<Register>> {
        let stored: Option<(i64, Vec<u8>, Vec<u8>)> =
            row::table.find(ID).select((row::epoch, row::logs, row::mac)).first(conn).optional()?;
        let Some((epoch, bytes, mac)) = stored else { return Ok(None) };
        if !logs.seal()?.accepts(&message(epoch, &bytes), &mac) {
            return Ok(None);
        }
        let (records, _) = bytes.as_chunks::<RECORD>();
        Ok(Some(Register { epoch, logs: records.iter().filter_map(read_record).collect() }))
    }

    /// [`Register::read`], locked until the transaction ends.
    pub fn lock(tx: &mut Tx<'_>) -> Result<Option<Register>> {
        diesel::update(row::table.find(ID)).set(row::id.eq(ID)).execute(tx.conn)?;
        Register::read(tx.conn, tx.logs)
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
            bytes.extend_from_slice(&anchor.size.to_be_bytes());
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

    /// Takes over what a log is now.
    pub fn take(&mut self, head: &Row) {
        self.logs.insert(head.org, Anchor { size: head.hashed.cast_unsigned(), root: head.root() });
    }
}

fn message(epoch: i64, logs: &[u8]) -> Vec<u8> {
    [b"keydesk audit register 1\0".as_slice(), &epoch.to_be_bytes(), logs].concat()
}

fn read_record(record: &[u8; RECORD]) -> Option<(OrgId, Anchor)> {
    let (org, rest) = record.split_first_chunk::<16>()?;
    let (size, root) = rest.split_first_chunk::<8>()?;
    Some((OrgId::from_bytes(*org), Anchor { size: u64::from_be_bytes(*size), root: root.try_into().ok()? }))
}

/// Why an empty log is not a new one, if it is not: it is known already.
pub fn fault_if_new(tx: &mut Tx<'_>, org: OrgId) -> Result<Option<&'static str>> {
    let register = Register::read(tx.conn, tx.logs)?;
    let is_listed = register.is_none_or(|register| register.logs.contains_key(&org));
    Ok((is_listed || tx.logs.mark(org).is_some()).then_some(BEGUN_AGAIN))
}

/// Looks at all logs: whether each is authentic, and continues what the register and this process
/// know of it. Changes nothing.
pub fn survey(conn: &mut Conn, logs: &LogGuard) -> Result<Survey> {
    // What is known is read first and the logs last: they only grow.
    let (marks, known_epoch) = (logs.all_marks(), logs.epoch());
    let register = Register::read(conn, logs)?;
    let heads = head::all(conn)?;
    let mut found = Survey::default();
    let latest = heads.iter().filter(|head| head.fault(logs, None).is_ok_and(|fault| fault.is_none()));
    let latest = latest.map(|head| head.epoch).max().unwrap_or(0).max(known_epoch);
    found.latest = latest;
    let all = match &register {
        None => Some(LOST),
        Some(register) if register.epoch < latest => Some(REGISTER_OLDER),
        Some(register) => {
            logs.saw_epoch(register.epoch);
            None
        }
    };
    let register = register.unwrap_or_default();
    found.is_behind = all.is_some();
    for org in register.logs.keys().filter(|org| !heads.iter().any(|head| head.org == **org)) {
        found.faults.push((*org, GONE));
    }
    for head in heads {
        let fault = match head.fault(logs, marks.get(&head.org).copied())? {
            Some(why) => Some(why),
            None if head.broken_at.is_some() => {
                logs.note(head.org, head.mark());
                continue;
            }
            None => all,
        };
        let anchor = register.logs.get(&head.org);
        let fault = match (fault, anchor) {
            (None, Some(anchor)) => continues(conn, &head, anchor)?,
            (fault, _) => fault,
        };
        match fault {
            Some(why) => found.faults.push((head.org, why)),
            None => {
                found.is_behind |= anchor.is_none_or(|anchor| anchor.size != head.hashed.cast_unsigned());
                found.sound.push(head);
            }
        }
    }
    Ok(found)
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

/// [`survey`] under a lock: marks what is broken, and brings the register up to date.
pub fn update(tx: &mut Tx<'_>) -> Result<()> {
    let register = Register::lock(tx)?;
    let found = survey(tx.conn, tx.logs)?;
    for (org, why) in found.faults {
        head::mark_broken(tx, org, None, why)?;
    }
    let mut next = register.unwrap_or_default();
    for head in &found.sound {
        next.take(head);
    }
    next.epoch = next.epoch.max(found.latest);
    next.write(tx)
}
