//! Checking a log: an exported one against its checkpoint, or the one in the database against
//! itself and the checkpoints that were kept. Both name the first bad entry.

use std::io::BufRead;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::audit::checkpoint::{Checkpoint, Note, Signer, Verifier};
use crate::audit::export::{Line, Trailer};
use crate::audit::store::{self, Head, Stored};
use crate::audit::tree::{self, Edge, Hash, Walk};
use crate::db::Conn;
use crate::error::Result;
use crate::id::OrgId;

/// The longest line that is read.
const MAX_LINE: u64 = 16 << 20;
/// How many entries of the database are checked at once.
const BATCH: i64 = 2_000;

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first entry that is not what was written, from 0; behind the last one it is the checkpoint.
    pub index: u64,
    /// What is wrong with it.
    pub why: String,
}

impl Fault {
    fn new(index: u64, why: impl Into<String>) -> Fault {
        Fault { index, why: why.into() }
    }
}

/// What came from outside, so that the one who made the file can't have made it too.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// The verifier key.
    pub key: Option<Verifier>,
    /// A checkpoint of the log.
    pub checkpoint: Option<Checkpoint>,
}

/// A log in which nothing is wrong.
#[derive(Clone, Debug)]
pub struct Sound {
    /// What its checkpoint says.
    pub checkpoint: Checkpoint,
}

/// Checks an exported log, line by line, in little memory. `last` is its last line, which has to be
/// known before.
pub fn export(
    mut reader: impl BufRead,
    last: &str,
    outside: &Outside,
) -> std::io::Result<Result<Sound, Fault>> {
    let trailer = read_trailer(last, outside);
    let mut check = Check::new(trailer.as_ref().ok(), outside.checkpoint.as_ref());
    let mut line = String::new();
    loop {
        line.clear();
        let read = std::io::Read::take(&mut reader, MAX_LINE).read_line(&mut line);
        let text = match read {
            Ok(0) => return Ok(Err(check.wrong("the file is cut off: it, or the checkpoint, is missing"))),
            Ok(_) => line.strip_suffix('\n'),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => None,
            Err(error) => return Err(error),
        };
        let Some(text) = text else {
            return Ok(Err(check.wrong("its line is cut off or can't be read")));
        };
        if canonical::<Trailer>(text).is_none() {
            if let Err(fault) = check.entry(text) {
                return Ok(Err(fault));
            }
            continue;
        }
        if line != last {
            let index = check.edge.size();
            let ends = |told: &Checkpoint| (told.size, told.root) == (index, check.edge.root());
            return Ok(Err(if read_trailer(&line, outside).as_ref().is_ok_and(ends) {
                Fault::new(index + 1, "there is more behind the checkpoint")
            } else {
                check.wrong("a checkpoint stands in its place")
            }));
        }
        let checkpoint = match trailer {
            Err(why) => return Ok(Err(check.wrong(why))),
            Ok(checkpoint) => checkpoint,
        };
        if let Err(fault) = check.trailer(&checkpoint) {
            return Ok(Err(fault));
        }
        if !reader.fill_buf()?.is_empty() {
            return Ok(Err(Fault::new(checkpoint.size + 1, "there is more behind the checkpoint")));
        }
        return Ok(Ok(Sound { checkpoint }));
    }
}

fn read_trailer(last: &str, outside: &Outside) -> Result<Checkpoint, &'static str> {
    let trailer = last.strip_suffix('\n').and_then(canonical::<Trailer>);
    let note = trailer.and_then(|trailer| Note::parse(&trailer.checkpoint));
    let checkpoint = note.as_ref().and_then(Note::checkpoint);
    let (Some(note), Some(checkpoint)) = (note, checkpoint) else {
        return Err("this is neither an entry nor a checkpoint");
    };
    match &outside.key {
        Some(key) if !key.has_signed(&note) => Err("the checkpoint is not signed by that key"),
        Some(key) if key.name() != checkpoint.origin => Err("the checkpoint is of another log"),
        _ => Ok(checkpoint),
    }
}

/// A line as [`super::export`] writes it; the same said in another way is not what was written.
fn canonical<'a, T: serde::Deserialize<'a> + serde::Serialize>(text: &'a str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    (serde_json::to_string(&value).ok()? == text).then_some(value)
}

/// An exported log as far as it was read.
struct Check<'a> {
    /// Grows with the entries, whatever they are.
    edge: Edge,
    /// Follows the file's own checkpoint, as long as that vouches for the entries.
    own: Option<Walk>,
    /// Follows the checkpoint from outside; it only can if that is as large.
    theirs: Option<Walk>,
    /// Whether there is a checkpoint at all.
    is_vouched: bool,
    outside: Option<&'a Checkpoint>,
    /// The first entry for which the checkpoint from outside could not vouch.
    unvouched: u64,
    /// Whether what the checkpoint from outside covers is not what it says.
    differs: bool,
}

impl<'a> Check<'a> {
    fn new(own: Option<&Checkpoint>, outside: Option<&'a Checkpoint>) -> Check<'a> {
        let walk = |checkpoint: &Checkpoint| Walk::new(checkpoint.size, checkpoint.root);
        Check {
            edge: Edge::default(),
            own: own.map(walk),
            theirs: outside.map(walk),
            is_vouched: own.is_some() || outside.is_some(),
            outside,
            unvouched: 0,
            differs: false,
        }
    }

    fn wrong(&self, why: &str) -> Fault {
        Fault::new(self.edge.size(), why)
    }

    fn entry(&mut self, text: &str) -> Result<(), Fault> {
        let index = self.edge.size();
        let line = canonical::<Line>(text).ok_or_else(|| self.wrong("its line can't be read"))?;
        if line.index != index {
            let why = if line.index > index { "it is missing" } else { "another entry stands in its place" };
            return Err(self.wrong(why));
        }
        let told: Option<Vec<Hash>> = line
            .hashes
            .iter()
            .map(|hash| STANDARD.decode(hash).ok().and_then(|hash| hash.try_into().ok()))
            .collect();
        let told = told.ok_or_else(|| self.wrong("its hashes can't be read"))?;
        let leaf = tree::leaf(line.entry.as_bytes());
        for walk in [&mut self.own, &mut self.theirs] {
            if walk.as_mut().is_some_and(|walk| !walk.step(&leaf, &told)) {
                *walk = None;
            }
        }
        if self.is_vouched && self.own.is_none() && self.theirs.is_none() {
            return Err(self.wrong("it is not what was written, or the checkpoint does not know of it"));
        }
        self.edge.push(leaf, |_, _, _| {});
        if self.theirs.is_some() {
            self.unvouched = self.edge.size();
        }
        if let Some(outside) = self.outside.filter(|outside| outside.size == self.edge.size()) {
            self.differs = outside.root != self.edge.root();
        }
        Ok(())
    }

    fn trailer(&self, own: &Checkpoint) -> Result<(), Fault> {
        match &self.own {
            Some(walk) if walk.is_done() => {}
            Some(_) => return Err(self.wrong("it is missing")),
            None => return Err(self.wrong("the checkpoint is not that of the entries")),
        }
        let Some(outside) = self.outside else { return Ok(()) };
        if outside.origin != own.origin {
            return Err(self.wrong("the checkpoint is of another log than the one from outside"));
        }
        if outside.size > own.size {
            let why = "the checkpoint from outside knows of more entries than the file, which is cut off, \
                       older or forged, and does not vouch for this one";
            return Err(Fault::new(self.unvouched, why));
        }
        if self.differs {
            let why = "it, or one behind it, is not what the checkpoint from outside vouches for";
            return Err(Fault::new(self.unvouched, why));
        }
        Ok(())
    }
}

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

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;
    use crate::audit::export;
    use crate::audit::tree::tests::Memory;
    use crate::crypto::{Keyring, Root};

    const ORIGIN: &str = "keys.example.com/acme";

    /// Small numbers that look random and are the same each time (xorshift64).
    struct Dice(u64);

    impl Dice {
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

    /// An exported log of these entries, line by line, with its checkpoint.
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
            let hashes = tree::told_with(index, size, &mut nodes).unwrap();
            let hashes = hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
            serde_json::to_string(&Line { index, entry: entry.clone(), hashes }).unwrap() + "\n"
        };
        let mut lines: Vec<String> = (0..size).zip(entries).map(line).collect();
        let checkpoint = Checkpoint { origin: ORIGIN.to_owned(), size, root: edge.root() };
        lines.push(export::trailer(&checkpoint.sign([signer])).unwrap());
        (lines, checkpoint)
    }

    fn entries(dice: &mut Dice, size: usize) -> Vec<String> {
        let entry =
            |index| format!("{{\"id\":\"evt_{index}\",\"at\":\"…\",\"n\":{}}}", dice.roll(0..=1_000_000));
        (0..size).map(entry).collect()
    }

    fn check(bytes: &[u8], outside: &Outside) -> Result<Sound, Fault> {
        let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let start = whole.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let last = String::from_utf8_lossy(&bytes[start..]).into_owned();
        super::export(bytes, &last, outside).unwrap()
    }

    /// The first line that is not as it was written.
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
    fn a_log_as_it_was_written_is_sound() {
        let mut dice = Dice(1);
        for size in 1..40 {
            let entries = entries(&mut dice, size);
            let (lines, checkpoint) = exported(&entries, &signer());
            let (_, before) = exported(&entries[..size / 2 + size % 2], &signer());
            let key = Some(signer().verifier(ORIGIN));
            for outside in [
                Outside::default(),
                Outside { key: key.clone(), checkpoint: None },
                Outside { key: None, checkpoint: Some(checkpoint.clone()) },
                Outside { key, checkpoint: Some(before) },
            ] {
                let sound = check(lines.concat().as_bytes(), &outside).unwrap();
                assert_eq!(sound.checkpoint, checkpoint);
            }
        }
    }

    /// `KEYDESK_TAMPERS` says how often; the suite is content with fewer than a release.
    #[test]
    fn every_tampering_is_found_and_the_first_bad_entry_named() {
        let times = std::env::var("KEYDESK_TAMPERS").ok().and_then(|text| text.parse().ok()).unwrap_or(700);
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
        let mut kinds = [0; 7];
        let mut tried = 0;
        while tried < times {
            let size = dice.roll(2..=24);
            let written = entries(&mut dice, size);
            let (lines, checkpoint) = exported(&written, &signer());
            let mut outside = Outside { key: Some(signer().verifier(ORIGIN)), checkpoint: None };
            let mut tampered = lines.clone();
            let kind = dice.roll(0..=6);
            let place = dice.roll(0..=size);
            let bytes = match kind {
                0 => {
                    let mut bytes = lines.concat().into_bytes();
                    let at = dice.roll(0..=bytes.len() - 1);
                    bytes[at] = dice.roll(0..=255) as u8;
                    bytes
                }
                1 => {
                    tampered.remove(place);
                    tampered.concat().into_bytes()
                }
                2 => {
                    tampered.swap(place, dice.roll(0..=size));
                    tampered.concat().into_bytes()
                }
                3 => {
                    let bytes = lines.concat().into_bytes();
                    bytes[..dice.roll(0..=bytes.len() - 1)].to_vec()
                }
                4 => {
                    tampered.insert(dice.roll(0..=size + 1), lines[place].clone());
                    tampered.concat().into_bytes()
                }
                // Another history from some entry on, hashed anew, and signed with the key of another
                // or, as from a copy of the database, with the right one.
                _ => {
                    let place = place.min(size - 1);
                    let others = dice.roll(1..=24);
                    let mut other = written[..place].to_vec();
                    other.extend(entries(&mut dice, others));
                    let copied = dice.roll(0..=1) == 1;
                    let hand = if copied { signer() } else { stranger() };
                    let (forked, _) = exported(&other, &hand);
                    outside.checkpoint = Some(checkpoint);
                    // Either whole, or behind the lines of before.
                    let whole = kind == 5;
                    tampered = if whole { forked } else { [&lines[..place], &forked[place..]].concat() };
                    tampered.concat().into_bytes()
                }
            };
            let Some(expected) = first_difference(&lines, &bytes) else { continue };
            let found = check(&bytes, &outside).map_err(|fault| fault.index);
            assert_eq!(found.map(|_| ()), Err(expected), "kind {kind}: {}", String::from_utf8_lossy(&bytes));
            kinds[kind] += 1;
            tried += 1;
        }
        assert!(kinds.iter().all(|tries| *tries > times / 14), "{kinds:?}");
    }
}
