//! Verifying a log: an export against its checkpoint, or the log in the database against itself and the
//! stored checkpoints. Both report the first bad entry.

mod database;
mod export;
#[cfg(test)]
mod tests;

use crate::audit::checkpoint::{Checkpoint, Verifier};

pub use database::{LogCheck, Progress};
pub use export::export;

/// What is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first bad entry, from 0; the number of entries stands for the checkpoint after them.
    pub index: u64,
    pub why: String,
}

impl Fault {
    fn new(index: u64, why: impl Into<String>) -> Fault {
        Fault { index, why: why.into() }
    }
}

/// Trust anchors from elsewhere, which the author of the file can't have made too.
#[derive(Clone, Debug, Default)]
pub struct TrustAnchors {
    pub key: Option<Verifier>,
    pub checkpoint: Option<Checkpoint>,
}

/// An intact log.
#[derive(Clone, Debug)]
pub struct Verified {
    pub checkpoint: Checkpoint,
}
