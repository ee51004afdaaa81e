//! Tests of the tree against a literal implementation of the RFC.

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

/// RFC 6962 section 2.1, literally.
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

/// RFC 6962 section 2.1.1, literally.
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

/// RFC 6962 section 2.1.2, literally.
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
fn edge_matches_the_tree_of_the_rfc() {
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
fn every_proof_matches_the_rfc_and_proves_nothing_else() {
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
fn walk_finds_the_first_wrong_entry() {
    for size in 1..=SIZE {
        let (leaves, mut nodes, edges) = grown(size);
        let siblings: Vec<_> =
            (0..size).map(|index| new_siblings(index, size, &mut nodes).unwrap()).collect();
        assert_eq!(siblings.iter().map(Vec::len).sum::<usize>() as u64, size - 1);
        let walk = |leaves: &[Hash], siblings: &[Vec<Hash>]| {
            let mut walk = Walk::new(size, edges[size as usize].root());
            let wrong = (0..leaves.len()).find(|&index| !walk.step(&leaves[index], &siblings[index]));
            assert_eq!(wrong.is_none(), walk.is_done());
            wrong
        };
        assert_eq!(walk(&leaves, &siblings), None);
        for index in 0..size as usize {
            let mut wrong = leaves.clone();
            wrong[index][31] ^= 1;
            assert_eq!(walk(&wrong, &siblings), Some(index));
            for place in 0..siblings[index].len() {
                let mut wrong = siblings.clone();
                wrong[index][place][31] ^= 1;
                assert_eq!(walk(&leaves, &wrong), Some(index));
                wrong[index].remove(place);
                assert_eq!(walk(&leaves, &wrong), Some(index));
            }
        }
    }
}
