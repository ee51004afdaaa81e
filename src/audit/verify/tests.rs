//! Tests with tampered logs.

use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::audit::checkpoint::Signer;
use crate::audit::export::{self, Line};
use crate::audit::tree::tests::Memory;
use crate::audit::tree::{self, Edge};
use crate::crypto::{Keyring, Root};

const ORIGIN: &str = "keys.example.com/acme";

/// A deterministic random number generator (xorshift64).
struct Random(u64);

impl Random {
    fn roll(&mut self, range: RangeInclusive<usize>) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start() + self.0 as usize % (range.end() - range.start() + 1)
    }
}

fn signer() -> Signer {
    let root = Root::parse(&STANDARD.encode([7; 32])).unwrap();
    Signer::all(&Keyring::new(root, None)).unwrap().remove(0)
}

fn stranger() -> Signer {
    let root = Root::parse(&STANDARD.encode([8; 32])).unwrap();
    Signer::all(&Keyring::new(root, None)).unwrap().remove(0)
}

/// The lines of an export of these entries, and its checkpoint.
fn exported(entries: &[String], signer: &Signer) -> (Vec<String>, Checkpoint) {
    let (mut nodes, mut edge) = (Memory::default(), Edge::default());
    for (index, entry) in entries.iter().enumerate() {
        let leaf = tree::leaf(entry.as_bytes());
        nodes.0.insert((0, index as u64), leaf);
        edge.push(leaf, |level, place, hash| {
            nodes.0.insert((level, place), hash);
        });
    }
    let size = entries.len() as u64;
    let line = |(index, entry): (u64, &String)| {
        let hashes = tree::new_siblings(index, size, &mut nodes).unwrap();
        let hashes = hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
        serde_json::to_string(&Line { index, entry: entry.clone(), hashes }).unwrap() + "\n"
    };
    let mut lines: Vec<String> = (0..size).zip(entries).map(line).collect();
    let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: edge.root() };
    lines.push(export::trailer(&checkpoint.sign([signer])).unwrap());
    (lines, checkpoint)
}

fn entries(random: &mut Random, size: usize) -> Vec<String> {
    let entry =
        |index| format!("{{\"id\":\"evt_{index}\",\"at\":\"…\",\"n\":{}}}", random.roll(0..=1_000_000));
    (0..size).map(entry).collect()
}

fn check(bytes: &[u8], anchors: &TrustAnchors) -> Result<Verified, Fault> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let start = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let last = String::from_utf8_lossy(&bytes[start..]).into_owned();
    super::export(bytes, &last, anchors).unwrap()
}

/// The first line that differs from what was written.
fn first_difference(written: &[String], bytes: &[u8]) -> Option<u64> {
    let mut read = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut index = 0;
    for line in written {
        if read.next() != Some(line.as_bytes()) {
            return Some(index);
        }
        index += 1;
    }
    read.next().map(|_| index)
}

#[test]
fn unchanged_log_is_verified() {
    let mut random = Random(1);
    for size in 1..40 {
        let entries = entries(&mut random, size);
        let (lines, checkpoint) = exported(&entries, &signer());
        let (_, before) = exported(&entries[..size / 2 + size % 2], &signer());
        let key = Some(signer().verifier(ORIGIN));
        for anchors in [
            TrustAnchors::default(),
            TrustAnchors { key: key.clone(), checkpoint: None },
            TrustAnchors { key: None, checkpoint: Some(checkpoint.clone()) },
            TrustAnchors { key, checkpoint: Some(before) },
        ] {
            let sound = check(lines.concat().as_bytes(), &anchors).unwrap();
            assert_eq!(sound.checkpoint, checkpoint);
        }
    }
}

/// `KEYDESK_TAMPERS=10000 cargo test --release --lib audit::verify -- --nocapture` runs more cases and
/// prints how many of each kind.
#[test]
fn every_tampering_is_found_and_the_first_bad_entry_is_reported() {
    let times = std::env::var("KEYDESK_TAMPERS").ok().and_then(|text| text.parse().ok()).unwrap_or(700);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut kinds = [0; 7];
    let mut tried = 0;
    while tried < times {
        let size = random.roll(2..=24);
        let written = entries(&mut random, size);
        let (lines, checkpoint) = exported(&written, &signer());
        let mut anchors = TrustAnchors { key: Some(signer().verifier(ORIGIN)), checkpoint: None };
        let mut tampered = lines.clone();
        let kind = random.roll(0..=6);
        let place = random.roll(0..=size);
        let bytes = match kind {
            0 => {
                let mut bytes = lines.concat().into_bytes();
                let at = random.roll(0..=bytes.len() - 1);
                bytes[at] = random.roll(0..=255) as u8;
                bytes
            }
            1 => {
                tampered.remove(place);
                tampered.concat().into_bytes()
            }
            2 => {
                tampered.swap(place, random.roll(0..=size));
                tampered.concat().into_bytes()
            }
            3 => {
                let bytes = lines.concat().into_bytes();
                bytes[..random.roll(0..=bytes.len() - 1)].to_vec()
            }
            4 => {
                tampered.insert(random.roll(0..=size + 1), lines[place].clone());
                tampered.concat().into_bytes()
            }
            // Another history from some entry on, hashed again, and signed with a stranger's key or, as
            // after a copy of the database, with the right one.
            _ => {
                let place = place.min(size - 1);
                let others = random.roll(1..=24);
                let mut other = written[..place].to_vec();
                other.extend(entries(&mut random, others));
                let copied = random.roll(0..=1) == 1;
                let hand = if copied { signer() } else { stranger() };
                let (forked, _) = exported(&other, &hand);
                anchors.checkpoint = Some(checkpoint);
                // Either the whole fork, or the fork after the original lines.
                let whole = kind == 5;
                tampered = if whole { forked } else { [&lines[..place], &forked[place..]].concat() };
                tampered.concat().into_bytes()
            }
        };
        let Some(expected) = first_difference(&lines, &bytes) else { continue };
        let found = check(&bytes, &anchors).map_err(|fault| fault.index);
        assert_eq!(found.map(|_| ()), Err(expected), "kind {kind}: {}", String::from_utf8_lossy(&bytes));
        kinds[kind] += 1;
        tried += 1;
    }
    assert!(kinds.iter().all(|tries| *tries > times / 14), "{kinds:?}");
    let names =
        ["edited", "deleted", "reordered", "truncated", "doubled", "forked", "forked behind old lines"];
    for (name, tries) in names.iter().zip(kinds) {
        eprintln!("{tries:6} {name}: all found, first bad entry reported");
    }
}
