//! The row of a log's head, and the code that authenticates it.

use diesel::prelude::*;

use crate::audit::head::{CHANGED, MISSING, OLDER, broken, chain, next_position};
use crate::audit::tree::{Edge, Hash};
use crate::crypto::sha256;
use crate::db::{LogGuard, Mark, Tx};
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::installation;
use crate::schema::audit_heads;
use crate::time::Time;

/// A row of `audit_heads`, with its columns in order.
#[derive(Clone, Debug, Queryable)]
pub struct HeadRow {
    pub org: OrgId,
    /// The number of entries.
    pub size: i64,
    /// How many of them are in the tree: all, unless the log is broken.
    pub hashed: i64,
    /// The right edge of the tree.
    pub edge: Option<Vec<u8>>,
    /// The name under which checkpoints are signed.
    pub origin: Option<String>,
    /// How many entries the last check found intact.
    pub checked: i64,
    pub checked_at: Option<Time>,
    /// When all entries were last checked.
    pub whole_at: Option<Time>,
    /// The first bad entry of a broken log.
    pub broken_at: Option<i64>,
    /// A digest of all stored checkpoints.
    pub kept: Option<Vec<u8>>,
    /// The size of the latest stored checkpoint, in entries.
    pub kept_size: i64,
    /// The register epoch when the row was last written.
    pub epoch: i64,
    /// What is wrong with a broken log.
    pub broken_why: Option<String>,
    /// When the admins were notified that the log is broken.
    pub alarmed_at: Option<Time>,
    /// Authenticates all other columns.
    pub mac: Option<Vec<u8>>,
}

impl HeadRow {
    /// Whether the row is as [`super::lock`] creates it.
    pub fn is_blank(&self) -> bool {
        self.mac.is_none() && self.message() == HeadRow::empty(self.org).message()
    }

    /// Why the row is not what this installation wrote, if so. `mark` is what the process knew before it
    /// read the row.
    pub fn fault(&self, logs: &LogGuard, mark: Option<Mark>) -> Result<Option<&'static str>> {
        let Some(mac) = &self.mac else {
            return Ok(Some(if self.is_blank() && mark.is_none() { MISSING } else { CHANGED }));
        };
        if !logs.seal()?.accepts(&self.message(), mac) {
            return Ok(Some(CHANGED));
        }
        // A log known to be broken may have been cut back; it isn't relied on anyway.
        let mark = mark.filter(|_| self.broken_at.is_none());
        let older = mark.is_some_and(|mark| {
            self.size < mark.size || (self.size == mark.size && self.state() != mark.state)
        });
        Ok(older.then_some(OLDER))
    }

    pub(super) fn into_intact(self, logs: &LogGuard, mark: Option<Mark>) -> Result<HeadRow> {
        match (self.fault(logs, mark)?, self.broken_at) {
            (Some(why), _) => Err(broken(self.hashed.max(0), why)),
            (None, Some(index)) => Err(broken(index, self.broken_why.as_deref().unwrap_or(CHANGED))),
            (None, None) => Ok(self),
        }
    }

    /// The right edge of the tree; `None` if the columns contradict each other.
    pub fn tree(&self) -> Option<Edge> {
        Edge::from_bytes(self.hashed.cast_unsigned(), self.edge.as_deref().unwrap_or_default())
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        self.tree().unwrap_or_default().root()
    }

    /// Records that the log is broken from `index` on, or from its end if `None`. The first finding stays,
    /// until the admins are notified of a more exact one.
    pub fn break_at(&mut self, tx: &mut Tx<'_>, index: Option<i64>, why: &str) -> Result<()> {
        let is_authentic = match &self.mac {
            Some(mac) => tx.logs.seal()?.accepts(&self.message(), mac),
            None => false,
        };
        if !is_authentic {
            if !installation::belongs_to(tx.conn, tx.logs.seal()?)? {
                if tx.logs.change_seal(|seal| installation::belongs_to(tx.conn, seal))? {
                    return Err(Error::retry("the root secret of the database was replaced"));
                }
                let why =
                    "the root secret of the database was replaced; restart this process with the new one";
                return Err(Error::Unavailable(why.into()));
            }
            // Nothing in the row may be authenticated as if Keydesk had written it.
            let size = next_position(tx.conn, self.org)?;
            *self = HeadRow { size, origin: self.origin.take(), ..HeadRow::empty(self.org) };
        }
        if is_authentic && why == CHANGED {
            // The row was checked under a root secret that has just been replaced.
            return Err(Error::retry("the root secret of the database was replaced"));
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

    /// Stands for a row that can't be parsed. It has no code, and it is not [`HeadRow::is_blank`].
    pub(super) fn unreadable(org: OrgId) -> HeadRow {
        HeadRow { size: -1, ..HeadRow::empty(org) }
    }

    pub(super) fn empty(org: OrgId) -> HeadRow {
        HeadRow {
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

    /// Adds a checkpoint to the digest of stored checkpoints.
    pub fn add_checkpoint(&mut self, size: i64, note: &str) {
        self.kept = Some(chain(self.kept.as_deref(), note).to_vec());
        self.kept_size = size;
    }

    /// Authenticates and writes the row.
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

    /// What a process remembers of the log.
    pub fn mark(&self) -> Mark {
        Mark { size: self.size, state: self.state(), is_broken: self.broken_at.is_some() }
    }

    /// A digest that can't change unless the log grows.
    fn state(&self) -> Hash {
        let broken = [u8::from(self.broken_at.is_some())];
        sha256(&[self.edge.as_deref().unwrap_or_default(), &broken].concat())
    }

    /// The authenticated message: each column once, in an unambiguous form.
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
