//! Proofs that an entry is in a tree, and that a tree begins with an older one.

use crate::audit::tree::{Hash, Nodes, Span, node};

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
    // The older root itself is left out: the verifier has it.
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
