//! Verifies an exported log against its own checkpoint and external trust anchors, in little memory.

use std::io::BufRead;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::audit::checkpoint::{Checkpoint, Note};
use crate::audit::export::{Line, Trailer};
use crate::audit::tree::{self, Edge, Hash, Walk};
use crate::audit::verify::{Fault, TrustAnchors, Verified};

/// The longest accepted line, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// Verifies an exported log, line by line. `last` is its last line, which must be known in advance.
pub fn export(
    mut reader: impl BufRead,
    last: &str,
    anchors: &TrustAnchors,
) -> std::io::Result<Result<Verified, Fault>> {
    let trailer = read_trailer(last, anchors);
    let mut check = Check::new(trailer.as_ref().ok(), anchors.checkpoint.as_ref());
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
            let ends =
                |checkpoint: &Checkpoint| (checkpoint.size, checkpoint.root) == (index, check.edge.root());
            return Ok(Err(if read_trailer(&line, anchors).as_ref().is_ok_and(ends) {
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
        return Ok(Ok(Verified { checkpoint }));
    }
}

fn read_trailer(last: &str, anchors: &TrustAnchors) -> Result<Checkpoint, &'static str> {
    let trailer = last.strip_suffix('\n').and_then(canonical::<Trailer>);
    let note = trailer.and_then(|trailer| Note::parse(&trailer.checkpoint));
    let checkpoint = note.as_ref().and_then(Note::checkpoint);
    let (Some(note), Some(checkpoint)) = (note, checkpoint) else {
        return Err("this is neither an entry nor a checkpoint");
    };
    match &anchors.key {
        Some(key) if !key.has_signed(&note) => Err("the checkpoint is not signed by that key"),
        Some(key) if key.name() != checkpoint.origin => Err("the checkpoint is of another log"),
        _ => Ok(checkpoint),
    }
}

/// Parses a line exactly as [`crate::audit::export`] writes it; an equivalent spelling is not what was written.
fn canonical<'a, T: serde::Deserialize<'a> + serde::Serialize>(text: &'a str) -> Option<T> {
    let value: T = serde_json::from_str(text).ok()?;
    (serde_json::to_string(&value).ok()? == text).then_some(value)
}

/// The state of a verification.
struct Check<'a> {
    /// The edge of the entries so far, valid or not.
    edge: Edge,
    /// Follows the file's own checkpoint, as long as that vouches for the entries.
    own: Option<Walk>,
    /// Follows the external checkpoint, which only works if that has the same size.
    theirs: Option<Walk>,
    /// Whether there is any checkpoint.
    is_vouched: bool,
    external: Option<&'a Checkpoint>,
    /// The first entry for which the external checkpoint could not vouch.
    unvouched: u64,
    /// Whether the entries that the external checkpoint covers contradict it.
    differs: bool,
}

impl<'a> Check<'a> {
    fn new(own: Option<&Checkpoint>, external: Option<&'a Checkpoint>) -> Check<'a> {
        let walk = |checkpoint: &Checkpoint| Walk::new(checkpoint.size, checkpoint.root);
        Check {
            edge: Edge::default(),
            own: own.map(walk),
            theirs: external.map(walk),
            is_vouched: own.is_some() || external.is_some(),
            external,
            unvouched: 0,
            differs: external
                .is_some_and(|checkpoint| checkpoint.size == 0 && checkpoint.root != Edge::default().root()),
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
        let hashes: Option<Vec<Hash>> = line
            .hashes
            .iter()
            .map(|hash| STANDARD.decode(hash).ok().and_then(|hash| hash.try_into().ok()))
            .collect();
        let hashes = hashes.ok_or_else(|| self.wrong("its hashes can't be read"))?;
        let leaf = tree::leaf(line.entry.as_bytes());
        for walk in [&mut self.own, &mut self.theirs] {
            if walk.as_mut().is_some_and(|walk| !walk.step(&leaf, &hashes)) {
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
        if let Some(external) = self.external.filter(|external| external.size == self.edge.size()) {
            self.differs = external.root != self.edge.root();
        }
        Ok(())
    }

    fn trailer(&self, own: &Checkpoint) -> Result<(), Fault> {
        match &self.own {
            Some(walk) if walk.is_done() => {}
            Some(_) => return Err(self.wrong("it is missing")),
            None => return Err(self.wrong("the checkpoint is not that of the entries")),
        }
        let Some(external) = self.external else { return Ok(()) };
        if external.origin != own.origin {
            return Err(self.wrong("the checkpoint is of another log than the one from outside"));
        }
        if external.size > own.size {
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
