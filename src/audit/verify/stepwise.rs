//! The log in the database against itself and the checkpoints that were kept.

use crate::audit::checkpoint::{Note, Signer, Verifier};
use crate::audit::store::{self, Head, Stored};
use crate::audit::tree::{self, Edge, Hash};
use crate::audit::verify::Fault;
use crate::db::Conn;
use crate::error::Result;
use crate::id::OrgId;

/// How many entries are checked at once.
const BATCH: i64 = 2_000;

/// A check of the log in the database, some entries at a time.
pub struct Stepwise {
    org: OrgId,
    head: Head,
    edge: Edge,
    /// The entries for which a checkpoint vouches that was signed with the secret.
    vouched: u64,
    names: Vec<Verifier>,
}

/// How a check in steps goes on.
#[derive(Debug)]
pub enum Progress {
    /// There are more entries.
    More,
    /// All entries were checked: how many there are.
    Sound(u64),
    /// There is something wrong.
    Broken(Fault),
}

impl Stepwise {
    /// Begins behind entries that were checked before, or at the first.
    /// Checkpoints count that the signers have signed, or the owner of a key from outside.
    pub fn begin(
        conn: &mut Conn,
        org: OrgId,
        signers: &[Signer],
        key: Option<&Verifier>,
        checked: u64,
    ) -> Result<Stepwise> {
        let head = store::head(conn, org)?;
        let own = head.origin.iter().flat_map(|origin| signers.iter().map(|signer| signer.verifier(origin)));
        let names = own.chain(key.cloned()).collect();
        let edge = Edge::at(checked.min(head.size), &mut Stored { conn, org })?;
        Ok(Stepwise { org, head, vouched: edge.size(), edge, names })
    }

    /// The log as it was when the check began.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Checks some entries more.
    pub fn step(&mut self, conn: &mut Conn) -> Result<Progress> {
        let start = self.edge.size();
        let rows = store::texts(conn, self.org, start, BATCH)?;
        let end = start + rows.len() as u64;
        let kept = store::checkpoints_after(conn, self.org, start, BATCH)?;
        let mut kept = kept.into_iter().filter(|kept| kept.size.cast_unsigned() <= end).peekable();
        for (row, index) in rows.into_iter().zip(start..) {
            if index >= self.head.size {
                break;
            }
            if row.index != index.cast_signed() {
                return Ok(Progress::Broken(Fault::new(index, "it is missing")));
            }
            let leaf = tree::leaf(row.text.as_bytes());
            if row.leaf.as_deref() != Some(leaf.as_slice()) {
                return Ok(Progress::Broken(Fault::new(index, "its text is not what was written")));
            }
            self.edge.push(leaf, |_, _, _| {});
            let size = self.edge.size();
            while let Some(kept) = kept.next_if(|kept| kept.size.cast_unsigned() == size) {
                let Some(note) = Note::parse(&kept.note) else { continue };
                if !self.names.iter().any(|name| name.has_signed(&note)) {
                    continue;
                }
                if note.checkpoint().is_none_or(|told| (told.size, told.root) != (size, self.edge.root())) {
                    let why =
                        format!("it, or one before entry {size}, is not what a kept checkpoint vouches for");
                    return Ok(Progress::Broken(Fault::new(self.vouched, why)));
                }
                self.vouched = size;
            }
        }
        let size = self.edge.size();
        Ok(if size >= self.head.size {
            if self.edge == self.head.edge {
                Progress::Sound(size)
            } else {
                let why = "it, or one behind it, is not what the head of the log vouches for";
                Progress::Broken(Fault::new(self.vouched, why))
            }
        } else if end == start {
            Progress::Broken(Fault::new(size, "it is missing"))
        } else {
            Progress::More
        })
    }

    /// The root of the first `size` entries, from the stored nodes.
    pub fn root_at(&self, conn: &mut Conn, size: u64) -> Result<Hash> {
        Ok(Edge::at(size, &mut Stored { conn, org: self.org })?.root())
    }
}
