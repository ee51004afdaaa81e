//! Counts that are taken from memory to be written to the database.

use std::collections::HashMap;
use std::sync::Arc;

use crate::id::{KeyId, OrgId, SecretId};
use crate::time::{HOUR, Time};
use crate::usage::refusals::Refused;
use crate::usage::totals::Sum;

/// The dimensions of a count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    pub org: OrgId,
    pub key: KeyId,
    pub secret: SecretId,
    /// The start of the minute, or of the hour for counts that could not be written for more than an hour.
    pub start: Time,
    /// The scope's name; empty for routes that need none.
    pub scope: &'static str,
    /// The requested model, or `other`; empty for routes that take none.
    pub model: Arc<str>,
    /// The name of the outcome.
    pub outcome: &'static str,
    /// The bucket of the latency, for answered requests; see [`crate::usage::latency`].
    pub bucket: Option<i16>,
    /// The address group, or `other`.
    pub address: Arc<str>,
    /// The first product of the User-Agent, or `other`.
    pub program: Arc<str>,
}

/// Requests of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    pub sum: Sum,
    /// The end of the latest.
    pub last_at: Time,
}

/// Counts that are not yet written.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Requests with a proven key.
    pub counts: HashMap<Cell, Uses>,
    /// The refused ones among them, with the reasons.
    pub refused: Refused,
}

impl Uses {
    /// No requests; `at` is not later than the first one.
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

    /// Adds a batch with later refusals.
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

    /// The batch with minutes older than an hour combined into hours, so that a database that is unavailable for days does not
    /// fill the memory.
    pub fn coarser(self, now: Time) -> Batch {
        let start = |start: Time| if now.since(start) > HOUR { start.hour() } else { start };
        let mut coarse = Batch { refused: self.refused, ..Batch::default() };
        for (cell, uses) in self.counts {
            coarse.add(Cell { start: start(cell.start), ..cell }, uses);
        }
        coarse
    }
}
