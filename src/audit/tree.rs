//! The Merkle tree over the entries (RFC 6962 section 2.1; RFC 9162 has the same tree and spells
//! out how proofs are checked). Pure: hashes in, hashes out.
//!
//! A node is named by its level and its place: it covers the 2^level leaves from place·2^level.
//! Complete nodes never change, so each is stored once. All other hashes are made from them.

use sha2::{Digest as _, Sha256};

/// A hash of the tree: SHA-256.
pub type Hash = [u8; 32];

/// The hash of an entry.
pub fn leaf(entry: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(entry).finalize().into()
}

/// The hash of what lies above two others.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The complete subtrees that a tree is made of, largest first: all that is needed to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    roots: Vec<Hash>,
}

impl Edge {
    /// Of a tree of this size, from its stored form; `None` where both do not fit.
    pub fn from_bytes(size: u64, bytes: &[u8]) -> Option<Edge> {
        let (roots, rest) = bytes.as_chunks::<32>();
        let fits = rest.is_empty() && roots.len() == size.count_ones() as usize;
        fits.then(|| Edge { size, roots: roots.to_vec() })
    }

    /// Of the first `size` entries of a tree whose nodes are stored.
    pub fn at<N: Nodes>(size: u64, nodes: &mut N) -> Result<Edge, N::Error> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let roots = levels.map(|level| nodes.get(level, (size >> level) - 1)).collect::<Result<_, _>>()?;
        Ok(Edge { size, roots })
    }

    /// The stored form.
    pub fn bytes(&self) -> Vec<u8> {
        self.roots.concat()
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry's hash, and calls `completed` with the level, the place and the hash of each
    /// node above the leaves that it completes.
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

    /// The hash of the whole tree.
    pub fn root(&self) -> Hash {
        let mut roots = self.roots.iter().rev();
        match roots.next() {
            None => Sha256::digest([]).into(),
            Some(last) => roots.fold(*last, |right, left| node(left, &right)),
        }
    }
}

/// Where the complete nodes are kept.
pub trait Nodes {
    /// Why a node can't be had.
    type Error;

    /// The hash of a complete node. Level 0 are the leaves.
    fn get(&mut self, level: u32, place: u64) -> Result<Hash, Self::Error>;
}

/// Leaves from `start` until before `end`, as they occur in proofs: `start` is a multiple of the
/// least power of two that covers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    fn len(self) -> u64 {
        self.end - self.start
    }

    /// Divides where RFC 6962 does: at the largest power of two below the length.
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

/// The hash of the tree of the first `size` entries, of which there is at least one.
pub fn root<N: Nodes>(size: u64, nodes: &mut N) -> Result<Hash, N::Error> {
    Span { start: 0, end: size }.hash(nodes)
}

/// Proves that an entry is in the tree of the first `size`, from the leaf up. `index < size`.
pub fn inclusion<N: Nodes>(index: u64, size: u64, nodes: &mut N) -> Result<Vec<Hash>, N::Error> {
    let mut span = Span { start: 0, end: size };
    let mut beside = Vec::new();
    while span.len() > 1 {
        let (left, right) = span.split();
        (span, _) = if index < right.start { (left, beside.push(right)) } else { (right, beside.push(left)) };
    }
    beside.into_iter().rev().map(|span| span.hash(nodes)).collect()
}

/// Proves that the tree of the first `size` entries begins with that of the first `from`.
/// `0 < from <= size`.
pub fn consistency<N: Nodes>(from: u64, size: u64, nodes: &mut N) -> Result<Vec<Hash>, N::Error> {
    let mut span = Span { start: 0, end: size };
    let mut beside = Vec::new();
    let mut whole = true;
    while span.end != from {
        let (left, right) = span.split();
        if from <= right.start {
            beside.push(right);
            span = left;
        } else {
            beside.push(left);
            span = right;
            whole = false;
        }
    }
    // The older root itself need not be told.
    beside.extend((!whole).then_some(span));
    beside.into_iter().rev().map(|span| span.hash(nodes)).collect()
}

/// Checks a proof of [`inclusion`] (RFC 9162 section 2.1.3.2).
pub fn includes(index: u64, size: u64, leaf: &Hash, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (index, size - 1, *leaf);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node(beside, &hash);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Checks a proof of [`consistency`] (RFC 9162 section 2.1.4.2).
pub fn extends(from: u64, older: &Hash, size: u64, newer: &Hash, proof: &[Hash]) -> bool {
    if from == 0 || from > size {
        return false;
    }
    if from == size {
        return proof.is_empty() && older == newer;
    }
    let start = if from.is_power_of_two() { Some((older, proof)) } else { proof.split_first() };
    let Some((first, rest)) = start else { return false };
    let shift = (from - 1).trailing_ones();
    let (mut place, mut last) = ((from - 1) >> shift, (size - 1) >> shift);
    let (mut old, mut new) = (*first, *first);
    for beside in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            old = node(beside, &old);
            new = node(beside, &new);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            new = node(&new, beside);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && old == *older && new == *newer
}

/// The hashes to the right of an entry that are told for the first time when a tree is told entry
/// by entry, the outermost first. With them a reader who knows the root alone checks each entry as
/// it comes, and knows which one is wrong: see [`Walk`].
pub fn told_with<N: Nodes>(index: u64, size: u64, nodes: &mut N) -> Result<Vec<Hash>, N::Error> {
    // The largest subtree of the whole that begins with the entry.
    let mut span = Span { start: 0, end: size };
    while span.start != index {
        let (left, right) = span.split();
        span = if index < right.start { left } else { right };
    }
    let mut told = Vec::new();
    while span.len() > 1 {
        let (left, right) = span.split();
        told.push(right.hash(nodes)?);
        span = left;
    }
    Ok(told)
}

/// A walk over all entries of a tree whose root is known, in their order, in little memory.
pub struct Walk {
    size: u64,
    next: u64,
    /// What is yet to come, the nearest last, with its hash as the root vouches for it.
    ahead: Vec<(Span, Hash)>,
}

impl Walk {
    /// A walk over a tree of that size and root.
    pub fn new(size: u64, root: Hash) -> Walk {
        let whole = Span { start: 0, end: size };
        Walk { size, next: 0, ahead: if size > 0 { vec![(whole, root)] } else { Vec::new() } }
    }

    /// Takes the next entry's hash with what [`told_with`] tells. `false`: it is not the entry
    /// that the root vouches for, or what is told with it is wrong.
    pub fn step(&mut self, leaf: &Hash, told: &[Hash]) -> bool {
        let Some((mut span, expected)) = self.ahead.pop() else { return false };
        if span.start != self.next || told.len() != depth(span.len()) {
            return false;
        }
        let mut beside = Vec::with_capacity(told.len());
        for hash in told {
            let (left, right) = span.split();
            beside.push((right, *hash));
            span = left;
        }
        if beside.iter().rev().fold(*leaf, |left, (_, right)| node(&left, right)) != expected {
            return false;
        }
        self.ahead.extend(beside);
        self.next += 1;
        true
    }

    /// Whether every entry has come.
    pub fn is_done(&self) -> bool {
        self.next == self.size
    }
}

/// How often a span is split on the way to its first leaf.
fn depth(length: u64) -> usize {
    if length > 1 { (length - 1).ilog2() as usize + 1 } else { 0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;

    #[derive(Default)]
    pub(crate) struct Memory(pub(crate) HashMap<(u32, u64), Hash>);

    impl Nodes for Memory {
        type Error = Infallible;

        fn get(&mut self, level: u32, place: u64) -> Result<Hash, Infallible> {
            Ok(self.0[&(level, place)])
        }
    }

    /// RFC 6962 section 2.1, word by word.
    fn naive_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Sha256::digest([]).into(),
            [leaf] => *leaf,
            _ => {
                let k = 1 << (leaves.len() - 1).ilog2();
                node(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
            }
        }
    }

    /// RFC 6962 section 2.1.1, word by word.
    fn naive_path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = 1 << (leaves.len() - 1).ilog2();
        let (mut path, last) = if m < k {
            (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
        } else {
            (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
        };
        path.push(last);
        path
    }

    /// RFC 6962 section 2.1.2, word by word.
    fn naive_proof(m: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if whole { Vec::new() } else { vec![naive_root(leaves)] };
        }
        let k = 1 << (leaves.len() - 1).ilog2();
        let (mut proof, last) = if m <= k {
            (naive_proof(m, &leaves[..k], whole), naive_root(&leaves[k..]))
        } else {
            (naive_proof(m - k, &leaves[k..], false), naive_root(&leaves[..k]))
        };
        proof.push(last);
        proof
    }

    pub(crate) fn grown(size: u64) -> (Vec<Hash>, Memory, Vec<Edge>) {
        let (mut nodes, mut edge) = (Memory::default(), Edge::default());
        let mut edges = vec![edge.clone()];
        let leaves: Vec<Hash> = (0..size).map(|index| leaf(format!("entry {index}").as_bytes())).collect();
        for (index, leaf) in leaves.iter().enumerate() {
            nodes.0.insert((0, index as u64), *leaf);
            edge.push(*leaf, |level, place, hash| {
                let before = nodes.0.insert((level, place), hash);
                assert!(before.is_none(), "written twice: level {level}, place {place}");
            });
            edges.push(edge.clone());
        }
        (leaves, nodes, edges)
    }

    const SIZE: u64 = 37;

    #[test]
    fn the_edge_grows_as_the_tree_of_the_rfc() {
        let (leaves, mut nodes, edges) = grown(SIZE);
        for (size, edge) in edges.iter().enumerate() {
            assert_eq!(edge.root(), naive_root(&leaves[..size]), "{size}");
            assert_eq!(Edge::from_bytes(size as u64, &edge.bytes()).as_ref(), Some(edge));
            assert_eq!(Edge::from_bytes(size as u64, &[edge.bytes(), vec![0]].concat()), None);
            assert_eq!(Edge::from_bytes(2 * size as u64 + 1, &edge.bytes()), None);
            if size > 0 {
                assert_eq!(root(size as u64, &mut nodes), Ok(edge.root()));
                assert_eq!(Edge::at(size as u64, &mut nodes).as_ref(), Ok(edge));
            }
        }
    }

    #[test]
    fn every_proof_is_that_of_the_rfc_and_holds_for_nothing_else() {
        let (leaves, mut nodes, edges) = grown(SIZE);
        for size in 1..=SIZE {
            let (newer, all) = (edges[size as usize].root(), &leaves[..size as usize]);
            for index in 0..size {
                let proof = inclusion(index, size, &mut nodes).unwrap();
                assert_eq!(proof, naive_path(index as usize, all));
                let leaf = &leaves[index as usize];
                assert!(includes(index, size, leaf, &proof, &newer));
                assert!(!includes(index, size, &[7; 32], &proof, &newer));
                assert!(!includes(index + 1, size, leaf, &proof, &newer));
                for place in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[place][0] ^= 1;
                    assert!(!includes(index, size, leaf, &wrong, &newer));
                    wrong.remove(place);
                    assert!(!includes(index, size, leaf, &wrong, &newer));
                }
            }
            for from in 1..=size {
                let proof = consistency(from, size, &mut nodes).unwrap();
                assert_eq!(proof, naive_proof(from as usize, all, true));
                let older = edges[from as usize].root();
                assert!(extends(from, &older, size, &newer, &proof));
                assert!(!extends(from, &[7; 32], size, &newer, &proof));
                assert!(!extends(from, &older, size, &[7; 32], &proof));
                for place in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[place][0] ^= 1;
                    assert!(!extends(from, &older, size, &newer, &wrong));
                }
            }
        }
    }

    #[test]
    fn a_walk_knows_the_first_wrong_entry() {
        for size in 1..=SIZE {
            let (leaves, mut nodes, edges) = grown(size);
            let told: Vec<_> = (0..size).map(|index| told_with(index, size, &mut nodes).unwrap()).collect();
            assert_eq!(told.iter().map(Vec::len).sum::<usize>() as u64, size - 1);
            let walk = |leaves: &[Hash], told: &[Vec<Hash>]| {
                let mut walk = Walk::new(size, edges[size as usize].root());
                let wrong = (0..leaves.len()).find(|&index| !walk.step(&leaves[index], &told[index]));
                assert_eq!(wrong.is_none(), walk.is_done());
                wrong
            };
            assert_eq!(walk(&leaves, &told), None);
            for index in 0..size as usize {
                let mut wrong = leaves.clone();
                wrong[index][31] ^= 1;
                assert_eq!(walk(&wrong, &told), Some(index));
                for place in 0..told[index].len() {
                    let mut wrong = told.clone();
                    wrong[index][place][31] ^= 1;
                    assert_eq!(walk(&leaves, &wrong), Some(index));
                    wrong[index].remove(place);
                    assert_eq!(walk(&leaves, &wrong), Some(index));
                }
            }
        }
    }
}
