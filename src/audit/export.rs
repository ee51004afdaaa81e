//! The log as a file that anyone can verify: one entry per line, then the signed checkpoint.
//!
//! `{"index":0,"entry":"{…}","hashes":["…"]}`: `entry` is the hashed text, byte for byte, as a JSON
//! string. `hashes` are the tree nodes to the right of the entry that no earlier line contains, outermost
//! first. With them, a reader who trusts the checkpoint can verify each entry as it arrives. On average
//! there is one hash per entry.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::audit::store::{self, StoredNodes};
use crate::audit::tree::{self, Edge, Hash, Nodes};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::OrgId;

/// How many entries are read at once: a power of two, so that almost all nodes in `hashes` lie within the
/// block.
pub const BLOCK: u64 = 4_096;

/// A line with an entry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub index: u64,
    pub entry: String,
    /// Base64.
    pub hashes: Vec<String>,
}

/// The last line, with the signed checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    pub checkpoint: String,
}

/// The lines of one block of a log with `size` entries, starting at `from`, a multiple of [`BLOCK`].
pub fn block(conn: &mut Conn, org: OrgId, size: u64, from: u64) -> Result<String> {
    let most = BLOCK.min(size - from);
    let rows = store::texts(conn, org, from, most.cast_signed())?;
    let mut nodes = BlockNodes { nodes: HashMap::new(), stored: StoredNodes { conn, org } };
    let mut edge = Edge::default();
    for (row, index) in rows.iter().zip(from..) {
        let leaf = row.leaf.as_ref().and_then(|leaf| Hash::try_from(leaf.as_slice()).ok());
        let leaf = leaf.filter(|_| row.index == index.cast_signed());
        let leaf = leaf.ok_or_else(|| missing(index))?;
        if leaf != tree::leaf(row.text.as_bytes()) {
            let why = "its text is not what was written".to_owned();
            return Err(Error::LogBroken { index, why });
        }
        nodes.nodes.insert((0, index), leaf);
        edge.push(leaf, |level, place, hash| {
            nodes.nodes.insert((level, place + (from >> level)), hash);
        });
    }
    if edge.size() < most {
        return Err(missing(from + edge.size()));
    }
    let mut text = String::new();
    for (row, index) in rows.into_iter().zip(from..) {
        let hashes = tree::new_siblings(index, size, &mut nodes)?;
        let hashes = hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
        text.push_str(&line(&Line { index, entry: row.text, hashes })?);
    }
    Ok(text)
}

/// The last line of an export.
pub fn trailer(note: &str) -> Result<String> {
    line(&Trailer { checkpoint: note.to_owned() })
}

fn line(line: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(line).map_err(Error::internal)? + "\n")
}

fn missing(index: u64) -> Error {
    Error::LogBroken { index, why: "it is missing".to_owned() }
}

/// The nodes of one block, falling back to the stored ones.
struct BlockNodes<'a> {
    nodes: HashMap<(u32, u64), Hash>,
    stored: StoredNodes<'a>,
}

impl Nodes for BlockNodes<'_> {
    type Error = Error;

    fn get(&mut self, level: u32, place: u64) -> Result<Hash> {
        match self.nodes.get(&(level, place)) {
            Some(hash) => Ok(*hash),
            None => self.stored.get(level, place),
        }
    }
}
