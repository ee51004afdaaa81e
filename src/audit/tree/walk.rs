//! A tree told entry by entry, so that its reader knows of each whether it is the right one.

use crate::audit::tree::{Hash, Nodes, Span, node};

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
