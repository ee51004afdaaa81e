//! Checking a log: an exported one against its checkpoint, or the one in the database against
//! itself and the checkpoints that were kept. Both name the first bad entry.

mod export;
mod stepwise;
#[cfg(test)]
mod tests;

use crate::audit::checkpoint::{Checkpoint, Verifier};

pub use export::export;
pub use stepwise::{Progress, Stepwise};

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
