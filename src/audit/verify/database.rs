//! Checks the log in the database against its authenticated head, the register of all logs and the
//! stored checkpoints. Changes nothing.

use std::collections::BTreeMap;

use crate::audit::checkpoint::{Note, Signer, Verifier};
use crate::audit::head::{self, HeadRow, chain};
use crate::audit::register::{self, LogRecord, Register};
use crate::audit::store::{self, Head, StoredCheckpoint, StoredNodes};
use crate::audit::tree::{self, Edge, Hash};
use crate::audit::verify::Fault;
use crate::db::{Conn, LogGuard};
use crate::error::{Error, Result};
use crate::id::OrgId;

const BATCH: i64 = 2_000;

const MISSING: &str = "it is missing";

/// A check of the log in the database, in batches.
pub struct LogCheck {
    org: OrgId,
    head: Head,
    row: Option<HeadRow>,
    /// What is known to be wrong with the head, so that it vouches for nothing.
    wrong: Option<Fault>,
    end: u64,
    batch: i64,
    edge: Edge,
    /// Whether the check covers all entries, and so all stored checkpoints too.
    is_whole: bool,
    /// How many entries are vouched for by something that requires the root secret.
    vouched: u64,
    anchor: Option<LogRecord>,
    names: Vec<Verifier>,
    key: Option<Verifier>,
    by_key: Option<u64>,
}

#[derive(Debug)]
pub enum Progress {
    More,
    Intact(u64),
    Broken(Fault),
}

impl LogCheck {
    /// Starts after `checked` entries that were checked before.
    ///
    /// A stored checkpoint with a signature under the name of a signer or of the external key must bear a
    /// valid signature by one of them.
    pub fn begin(
        conn: &mut Conn,
        logs: &LogGuard,
        org: OrgId,
        signers: &[Signer],
        key: Option<&Verifier>,
        checked: u64,
    ) -> Result<LogCheck> {
        // The known state is read before the log, which only grows.
        let mark = logs.mark(org);
        let register = Register::read(conn, logs)?;
        let (row, last) = head::find_with_last(conn, org)?;
        let view = row.as_ref().map(Head::of).unwrap_or_default();
        let wrong = match &row {
            None => Some(Fault::new(0, "the log is missing from the database")),
            Some(row) => match (row.fault(logs, mark)?, &view.broken) {
                (Some(why), _) => Some(Fault::new(0, why)),
                (None, Some((index, why))) => Some(Fault::new(*index, why.as_str())),
                (None, None) => None,
            },
        };
        let own = view.origin.iter().flat_map(|origin| signers.iter().map(|signer| signer.verifier(origin)));
        let names = own.collect();
        let behind = last.map_or(0, |last| last.cast_unsigned().saturating_add(1));
        let (end, from) = if wrong.is_some() { (behind, 0) } else { (view.size, checked.min(view.size)) };
        let edge = match Edge::at(from, &mut StoredNodes { conn, org }) {
            Ok(edge) => edge,
            Err(Error::Unavailable(cause)) => return Err(Error::Unavailable(cause)),
            Err(_) => Edge::default(),
        };
        let anchor = register.as_ref().and_then(|register| register.logs.get(&org)).copied();
        let mut check = LogCheck {
            org,
            head: view,
            row,
            wrong,
            end,
            batch: BATCH,
            vouched: edge.size(),
            is_whole: edge.size() == 0,
            edge,
            anchor,
            names,
            key: key.cloned(),
            by_key: None,
        };
        if check.wrong.is_none() {
            check.wrong = check.wrong_around(register.as_ref(), behind);
        }
        Ok(check)
    }

    /// What is wrong apart from the entries, if the head is authentic.
    fn wrong_around(&self, register: Option<&Register>, behind: u64) -> Option<Fault> {
        let at_end = |why: &str| Some(Fault::new(self.head.size, why));
        let Some(register) = register else {
            return at_end(register::LOST);
        };
        if behind > self.head.size {
            return at_end("it was added without the root secret");
        }
        match register.logs.get(&self.org) {
            None => at_end(register::UNKNOWN),
            Some(anchor) if anchor.is_broken => at_end(register::PUT_BACK),
            Some(anchor) if anchor.size > self.head.size => at_end("it is missing: the register knows of it"),
            Some(_) => None,
        }
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn wrong(&self) -> Option<&Fault> {
        self.wrong.as_ref()
    }

    pub fn by_key(&self) -> Option<u64> {
        self.by_key
    }

    pub fn has_kept(&self) -> bool {
        self.row.as_ref().is_some_and(|row| row.kept_size > 0)
    }

    pub fn step(&mut self, conn: &mut Conn) -> Result<Progress> {
        let start = self.edge.size();
        match self.entries(conn) {
            Ok(progress) => Ok(progress.unwrap_or_else(Progress::Broken)),
            Err(Error::Unavailable(cause)) => Err(Error::Unavailable(cause)),
            // Reads one entry at a time to find the unreadable one.
            Err(_) if self.batch > 1 && self.edge.size() == start => {
                self.batch = 1;
                Ok(Progress::More)
            }
            Err(error) => {
                tracing::warn!(organization = %self.org, cause = ?error, "a part of the audit log can't be read");
                Ok(Progress::Broken(Fault::new(start, "it, or what belongs to it, can't be read")))
            }
        }
    }

    fn entries(&mut self, conn: &mut Conn) -> Result<Result<Progress, Fault>> {
        let start = self.edge.size();
        let rows = store::indexed(conn, self.org, start, self.batch)?;
        let end = start + rows.len() as u64;
        let is_broken = self.wrong.is_some();
        let kept_size = self.row.as_ref().map_or(0, |row| row.kept_size);
        let kept = store::checkpoints_after(conn, self.org, start, BATCH)?.into_iter();
        // A larger one was stored after the check began.
        let mut kept = kept
            .filter(|kept| kept.size.cast_unsigned() <= end)
            .filter(|kept| is_broken || kept.size <= kept_size)
            .peekable();
        let mut completed: BTreeMap<u32, BTreeMap<u64, Hash>> = BTreeMap::new();
        for (row, index) in rows.into_iter().zip(start..) {
            if index >= self.end {
                break;
            }
            if row.index != index.cast_signed() {
                return Ok(Err(Fault::new(index, MISSING)));
            }
            let leaf = tree::leaf(row.text.as_bytes());
            if row.leaf.as_deref() != Some(leaf.as_slice()) {
                return Ok(Err(Fault::new(index, "its text is not what was written")));
            }
            if !row.is_consistent() {
                let why = "the columns by which it is found do not say what its text says";
                return Ok(Err(Fault::new(index, why)));
            }
            self.edge.push(leaf, |level, place, hash| {
                completed.entry(level).or_default().insert(place, hash);
            });
            let size = self.edge.size();
            if let Some(anchor) = self.anchor.filter(|anchor| anchor.size == size) {
                if anchor.root != self.edge.root() {
                    let why = format!("it, or one before entry {size}, is not what the register knows");
                    return Ok(Err(Fault::new(self.vouched, why)));
                }
                self.vouched = size;
            }
            while let Some(kept) = kept.next_if(|kept| kept.size.cast_unsigned() == size) {
                if let Err(fault) = self.compare(&kept) {
                    return Ok(Err(fault));
                }
            }
        }
        if self.wrong.is_none()
            && let Some(fault) = self.compare_nodes(conn, &completed)?
        {
            return Ok(Err(fault));
        }
        let size = self.edge.size();
        if size < self.end {
            return Ok(if end == start { Err(Fault::new(size, MISSING)) } else { Ok(Progress::More) });
        }
        self.finish(conn, size)
    }

    /// Compares a stored checkpoint with the entries that it covers.
    fn compare(&mut self, kept: &StoredCheckpoint) -> Result<(), Fault> {
        let size = self.edge.size();
        let Some(note) = Note::parse(&kept.note) else {
            return Err(Fault::new(size, format!("the kept checkpoint of {size} entries can't be read")));
        };
        let by_key = self.key.as_ref().is_some_and(|key| key.has_signed(&note));
        let is_ours = by_key || self.names.iter().any(|name| name.has_signed(&note));
        // A note without any name known now was signed under a root secret of long ago. The digest of
        // all stored checkpoints shows whether it is genuine.
        let is_known = is_ours || !self.names.iter().chain(&self.key).any(|name| name.is_named_in(&note));
        if !is_known {
            return Err(Fault::new(
                size,
                format!("the kept checkpoint of {size} entries is not signed by us"),
            ));
        }
        if note
            .checkpoint()
            .is_none_or(|checkpoint| (checkpoint.size, checkpoint.root) != (size, self.edge.root()))
        {
            let why = format!("it, or one before entry {size}, is not what a kept checkpoint says");
            return Err(Fault::new(self.vouched, why));
        }
        if is_ours {
            self.vouched = size;
        }
        if by_key {
            self.by_key = Some(size);
        }
        Ok(())
    }

    fn compare_nodes(
        &self,
        conn: &mut Conn,
        completed: &BTreeMap<u32, BTreeMap<u64, Hash>>,
    ) -> Result<Option<Fault>> {
        for (level, nodes) in completed {
            let (Some((first, _)), Some((last, _))) = (nodes.first_key_value(), nodes.last_key_value())
            else {
                continue;
            };
            let stored = store::nodes(conn, self.org, *level, *first, last + 1)?;
            if let Some((place, _)) = nodes.iter().find(|(place, hash)| stored.get(place) != Some(hash)) {
                let why = "it is what was written, but the stored tree above it was changed";
                return Ok(Some(Fault::new(place << level, why)));
            }
        }
        Ok(None)
    }

    fn finish(&self, conn: &mut Conn, size: u64) -> Result<Result<Progress, Fault>> {
        if let Some(wrong) = &self.wrong {
            // Entries that something vouches for are intact.
            let index = wrong.index.max(self.vouched);
            return Ok(Err(Fault { index, why: wrong.why.clone() }));
        }
        if self.edge != self.head.edge {
            let why = "it, or one behind it, is not what the end of the log says";
            return Ok(Err(Fault::new(self.vouched, why)));
        }
        if !self.is_whole {
            return Ok(Ok(Progress::Intact(size)));
        }
        let row = self.row.as_ref();
        let mut kept: Option<Hash> = None;
        let mut after = 0;
        loop {
            let part = store::checkpoints_after(conn, self.org, after, BATCH)?;
            let Some(last) = part.last().map(|kept| kept.size.cast_unsigned()) else { break };
            let known = part.iter().filter(|kept| row.is_some_and(|row| kept.size <= row.kept_size));
            for checkpoint in known {
                kept = Some(chain(kept.as_ref().map(Hash::as_slice), &checkpoint.note));
            }
            if last <= after {
                return Ok(Err(Fault::new(size, "a kept checkpoint is missing or was replaced")));
            }
            after = last;
        }
        if row.and_then(|row| row.kept.as_deref()) != kept.as_ref().map(Hash::as_slice) {
            return Ok(Err(Fault::new(size, "a kept checkpoint is missing or was replaced")));
        }
        Ok(Ok(Progress::Intact(size)))
    }

    pub fn root_at(&self, conn: &mut Conn, size: u64) -> Result<Hash> {
        Ok(Edge::at(size, &mut StoredNodes { conn, org: self.org })?.root())
    }
}
