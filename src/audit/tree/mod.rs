//! The Merkle tree over the entries (RFC 6962 section 2.1; RFC 9162 has the same tree and specifies
//! how proofs are checked). Pure: hashes in, hashes out.
//!
//! A node is identified by its level and its place: it covers the 2^level leaves from place·2^level.
//! Complete nodes never change, so each is stored once. All other hashes are computed from them.

mod proof;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

use sha2::{Digest as _, Sha256};

pub use proof::{consistency, extends, includes, inclusion, root};
pub use walk::{Walk, new_siblings};

/// A hash of the tree: SHA-256.
pub type Hash = [u8; 32];

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of a node with these children.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The roots of the complete subtrees that form a tree, largest first: enough to append to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// Parses the stored form of a tree of `size` entries; `None` if they contradict each other.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Edge> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Edge { size, roots: roots.to_vec() })
    }

    /// The edge of the first `size` entries of a stored tree.
    pub fn at<N: Nodes>(size: u64, nodes: &mut N) -> Result<Edge, N::Error> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let roots = levels.map(|level| nodes.get(level, (size >> level) - 1)).collect::<Result<_, _>>()?;
        Ok(Edge { size, roots })
    }

    /// The stored form.
    pub fn bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry's hash, and calls `completed` with the level, place and hash of each node above
    /// the leaves that it completes.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(u32, u64, Hash)) {
        let mut hash = leaf;
        for level in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node(&left, &hash);
                completed(level + 1, self.size >> (level + 1), hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }

    /// The root hash of the tree.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => Sha256::digest([]).into(),
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// A source of complete nodes.
pub trait Nodes {
    type Error;

    /// The hash of a complete node. Level 0 holds the leaves.
    fn get(&mut self, level: u32, place: u64) -> Result<Hash, Self::Error>;
}

/// The leaves `start..end` of a proof's subtree: `start` is a multiple of the least power of two that
/// covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// Splits as RFC 6962 does: at the largest power of two below the length.
    fn split(self) -> (Span, Span) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Span { end: middle, ..self }, Span { start: middle, ..self })
    }

    fn hash<N: Nodes>(self, nodes: &mut N) -> Result<Hash, N::Error> {
        if self.len().is_power_of_two() {
            let level = self.len().ilog2();
            return nodes.get(level, self.start >> level);
        }
        let (left, right) = self.split();
        Ok(node(&left.hash(nodes)?, &right.hash(nodes)?))
    }
}
