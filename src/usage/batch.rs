//! Counts on their way from memory to the database.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::id::{KeyId, OrgId, SecretId};
use crate::time::{HOUR, Time};
use crate::usage::refusals::Refused;

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The start of the minute, or of what it was aggregated to.
    pub start: Time,
    /// The secret.
    pub secret: SecretId,
    /// The scope's name, or empty for routes that need none.
    pub scope: &'static str,
    /// The model that was asked for, `other`, or empty for routes that take none.
    pub model: String,
    /// How requests ended.
    pub outcome: &'static str,
}

/// What is counted of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Requests.
    pub requests: i64,
    /// Tokens sent to models.
    pub input_tokens: i64,
    /// Tokens that models answered.
    pub output_tokens: i64,
}

/// A bucket of the histogram of latencies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Latency {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The start of the minute, or of what it was aggregated to.
    pub start: Time,
    /// The scope's name, or empty.
    pub scope: &'static str,
    /// The model, `other`, or empty.
    pub model: String,
    /// The bucket; see [`crate::usage::latency`].
    pub bucket: i16,
}

/// Who calls with a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret.
    pub secret: SecretId,
    /// The start of the hour.
    pub hour: Time,
    /// The address group, or `other`.
    pub address: String,
    /// What the program calls itself, or `other`.
    pub program: String,
}

/// The last use of a secret.
#[derive(Clone, Debug)]
pub struct LastUse {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// When.
    pub at: Time,
    /// From where.
    pub address: String,
    /// By which program.
    pub program: String,
}

/// Counts that were not yet written.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Requests and tokens.
    pub counts: HashMap<Cell, Sum>,
    /// Answered requests by how long they took.
    pub latencies: HashMap<Latency, i64>,
    /// Requests and the latest of them, by caller.
    pub callers: HashMap<Caller, (i64, Time)>,
    /// The last use of each secret, where the one in the database is older than a minute.
    pub last_uses: HashMap<SecretId, LastUse>,
    /// Refused requests.
    pub refused: Refused,
}

impl Sum {
    /// Adds another sum.
    pub fn add(&mut self, other: Sum) {
        self.requests += other.requests;
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.refused.is_empty()
    }

    /// Adds another batch, whose last uses are no older.
    pub fn merge(&mut self, other: Batch) {
        for (cell, sum) in other.counts {
            self.counts.entry(cell).or_default().add(sum);
        }
        for (latency, requests) in other.latencies {
            *self.latencies.entry(latency).or_default() += requests;
        }
        for (caller, (requests, last_at)) in other.callers {
            self.add_caller(caller, requests, last_at);
        }
        self.last_uses.extend(other.last_uses);
        self.refused.merge(other.refused);
    }

    /// The same, each organisation's for itself.
    pub fn by_org(self) -> HashMap<OrgId, Batch> {
        let mut parts: HashMap<OrgId, Batch> = HashMap::new();
        for (cell, sum) in self.counts {
            parts.entry(cell.org).or_default().counts.insert(cell, sum);
        }
        for (latency, requests) in self.latencies {
            parts.entry(latency.org).or_default().latencies.insert(latency, requests);
        }
        for (caller, counted) in self.callers {
            parts.entry(caller.org).or_default().callers.insert(caller, counted);
        }
        for (secret, last) in self.last_uses {
            parts.entry(last.org).or_default().last_uses.insert(secret, last);
        }
        for (org, refused) in self.refused.by_org() {
            parts.entry(org).or_default().refused = refused;
        }
        parts
    }

    /// Adds requests of a caller.
    pub fn add_caller(&mut self, caller: Caller, requests: i64, last_at: Time) {
        match self.callers.entry(caller) {
            Entry::Occupied(mut counted) => {
                let (sum, latest) = *counted.get();
                counted.insert((sum + requests, latest.max(last_at)));
            }
            Entry::Vacant(place) => {
                place.insert((requests, last_at));
            }
        }
    }

    /// The batch with minutes of more than an hour ago counted as the first of their hour, so
    /// that a database that takes no counts for days does not fill the memory.
    pub fn coarser(self, now: Time) -> Batch {
        let start = |start: Time| if now.since(start) > HOUR { start.hour() } else { start };
        let (callers, last_uses, refused) = (self.callers, self.last_uses, self.refused);
        let mut coarse = Batch { callers, last_uses, refused, ..Batch::default() };
        for (cell, sum) in self.counts {
            coarse.counts.entry(Cell { start: start(cell.start), ..cell }).or_default().add(sum);
        }
        for (latency, requests) in self.latencies {
            *coarse.latencies.entry(Latency { start: start(latency.start), ..latency }).or_default() +=
                requests;
        }
        coarse
    }
}
