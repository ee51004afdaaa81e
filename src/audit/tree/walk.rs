//! Verifying a tree entry by entry.

use crate::audit::tree::{Hash, Nodes, Span, node};

/// The hashes to the right of an entry that no earlier entry's list contains, outermost first. With them,
/// a reader who knows only the root verifies each entry as it arrives, and finds the first wrong one: see
/// [`Walk`].
pub fn new_siblings<N: Nodes>(index: u64, size: u64, nodes: &mut N) -> Result<Vec<Hash>, N::Error> {
    // The largest subtree that begins with the entry.
    let mut span = Span { start: 0, end: size };
    while span.start != index {
        let (left, right) = span.split();
        span = if index < right.start { left } else { right };
    }
    let mut siblings = Vec::new();
    while span.len() > 1 {
        let (left, right) = span.split();
        siblings.push(right.hash(nodes)?);
        span = left;
    }
    Ok(siblings)
}

/// Verifies the entries of a tree with a known root, in order, in little memory.
pub struct Walk {
    size: u64,
    next: u64,
    /// The subtrees to come, nearest last, with the hashes that the root vouches for.
    ahead: Vec<(Span, Hash)>,
}

impl Walk {
    /// Starts verifying a tree of that size and root.
    pub fn new(size: u64, root: Hash) -> Walk {
        let whole = Span { start: 0, end: size };
        Walk { size, next: 0, ahead: if size > 0 { vec![(whole, root)] } else { Vec::new() } }
    }

    /// Verifies the next entry's hash with its list from [`new_siblings`]. `false` if the root doesn't vouch
    /// for the entry, or the list is wrong.
    pub fn step(&mut self, leaf: &Hash, siblings: &[Hash]) -> bool {
        let Some((mut span, expected)) = self.ahead.pop() else { return false };
        if span.start != self.next || siblings.len() != depth(span.len()) {
            return false;
        }
        let mut beside = Vec::with_capacity(siblings.len());
        for hash in siblings {
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

    /// Whether all entries were verified.
    pub fn is_done(&self) -> bool {
        self.next == self.size
    }
}

/// How often a span is split on the way to its first leaf.
fn depth(length: u64) -> usize {
    if length > 1 { (length - 1).ilog2() as usize + 1 } else { 0 }
}
