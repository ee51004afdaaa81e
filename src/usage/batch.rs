//! Counts on their way from memory to the database.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::{KeyId, OrgId, SecretId};
use crate::time::{HOUR, Time};
use crate::usage::refusals::Refused;
use crate::usage::totals::Sum;

/// What is counted separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret.
    pub secret: SecretId,
    /// The start of the minute, or of the hour for counts that could not be written for long.
    pub start: Time,
    /// The scope's name, or empty for routes that need none.
    pub scope: &'static str,
    /// The model that was asked for, `other`, or empty for routes that take none.
    pub model: Arc<str>,
    /// How requests ended.
    pub outcome: &'static str,
    /// The bucket of the latency, for requests that were answered; see [`crate::usage::latency`].
    pub bucket: Option<i16>,
    /// The address group, or `other`.
    pub address: Arc<str>,
    /// What the program calls itself, or `other`.
    pub program: Arc<str>,
}

/// Requests of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// How many, and their tokens.
    pub sum: Sum,
    /// When the latest ended.
    pub last_at: Time,
}

/// Counts that are not written yet.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Requests that proved a key.
    pub counts: HashMap<Cell, Uses>,
    /// Those of them that were refused, with what is needed to say why.
    pub refused: Refused,
}

impl Uses {
    /// No requests; `at` is no later than the first will be.
    pub fn none(at: Time) -> Uses {
        Uses { sum: Sum::default(), last_at: at }
    }

    /// Adds requests.
    pub fn add(&mut self, other: Uses) {
        self.sum.add(other.sum);
        self.last_at = self.last_at.max(other.last_at);
    }
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.refused.is_empty()
    }

    /// Adds requests.
    pub fn add(&mut self, cell: Cell, uses: Uses) {
        self.counts.entry(cell).or_insert(Uses::none(uses.last_at)).add(uses);
    }

    /// Adds another batch, whose refusals are later.
    pub fn merge(&mut self, later: Batch) {
        for (cell, uses) in later.counts {
            self.add(cell, uses);
        }
        self.refused.merge(later.refused);
    }

    /// One batch for each organisation.
    pub fn by_org(self) -> HashMap<OrgId, Batch> {
        let mut parts: HashMap<OrgId, Batch> = HashMap::new();
        for (cell, uses) in self.counts {
            parts.entry(cell.org).or_default().counts.insert(cell, uses);
        }
        for (org, refused) in self.refused.by_org() {
            parts.entry(org).or_default().refused = refused;
        }
        parts
    }

    /// The batch with minutes of more than an hour ago counted as the first of their hour, so
    /// that a database that takes no counts for days does not fill the memory.
    pub fn coarser(self, now: Time) -> Batch {
        let start = |start: Time| if now.since(start) > HOUR { start.hour() } else { start };
        let mut coarse = Batch { refused: self.refused, ..Batch::default() };
        for (cell, uses) in self.counts {
            coarse.add(Cell { start: start(cell.start), ..cell }, uses);
        }
        coarse
    }
}
