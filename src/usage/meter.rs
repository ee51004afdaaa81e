//! Counters in memory, written once a second in one transaction.
//!
//! At most the last second of counts is lost when the process is killed. What clients can
//! send does not make the counters grow: keys are proven ones, and each secret names at
//! most [`MAX_CALLERS`] callers an hour; the rest are counted as `other`.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::{KeyId, OrgId, SecretId};
use crate::scope::Scope;
use crate::time::{MINUTE, Time};

/// How many callers of a secret are told apart within an hour.
pub const MAX_CALLERS: usize = 64;
const MAX_PROGRAM: usize = 64;
const OTHER: &str = "other";

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Refused or wrong, but not for its number.
    ClientError,
    /// One too many.
    Limited,
    /// Failed here or upstream.
    ServerError,
}

impl Outcome {
    /// The outcome that an HTTP status stands for.
    pub fn of_status(status: u16) -> Outcome {
        match status {
            429 => Outcome::Limited,
            400..=499 => Outcome::ClientError,
            500.. => Outcome::ServerError,
            _ => Outcome::Ok,
        }
    }

    /// The name in the database and the API.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::ClientError => "client_errors",
            Outcome::Limited => "limited",
            Outcome::ServerError => "server_errors",
        }
    }
}

/// One request that proved a key.
pub struct Call<'a> {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret that was presented.
    pub secret: SecretId,
    /// The scope that the route needs.
    pub scope: Option<Scope>,
    /// How it ended.
    pub outcome: Outcome,
    /// The client's address.
    pub address: std::net::IpAddr,
    /// The client's `User-Agent`.
    pub agent: &'a str,
    /// When.
    pub at: Time,
}

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// The secret.
    pub secret: SecretId,
    /// The start of the hour.
    pub hour: Time,
    /// The scope's name, or empty for routes that need none.
    pub scope: &'static str,
    /// How requests ended.
    pub outcome: &'static str,
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
    /// The address, or `other`.
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
#[derive(Default)]
pub struct Batch {
    /// Requests by cell.
    pub cells: HashMap<Cell, i64>,
    /// Requests and the latest of them, by caller.
    pub callers: HashMap<Caller, (i64, Time)>,
    /// The last use of each secret, where the database's is older than a minute.
    pub last_uses: HashMap<SecretId, LastUse>,
}

#[derive(Default)]
struct State {
    batch: Batch,
    /// The callers that are told apart, for one hour.
    known: HashMap<SecretId, HashSet<(String, String)>>,
    known_hour: Option<Time>,
    /// When the last use of a secret was last written.
    written: HashMap<SecretId, Time>,
}

/// The counters of this process.
#[derive(Default)]
pub struct Meter {
    state: Mutex<State>,
}

impl Meter {
    /// Counts one request.
    pub fn record(&self, call: &Call<'_>) {
        let mut state = self.lock();
        let hour = call.at.hour();
        let cell = Cell {
            org: call.org,
            key: call.key,
            secret: call.secret,
            hour,
            scope: call.scope.map_or("", Scope::name),
            outcome: call.outcome.name(),
        };
        *state.batch.cells.entry(cell).or_default() += 1;
        let (address, program) = state.caller(call, hour);
        let caller = Caller {
            org: call.org,
            key: call.key,
            secret: call.secret,
            hour,
            address: address.clone(),
            program: program.clone(),
        };
        let counted = state.batch.callers.entry(caller).or_insert((0, call.at));
        *counted = (counted.0 + 1, counted.1.max(call.at));
        if state.written.get(&call.secret).is_none_or(|at| call.at.since(*at) >= MINUTE) {
            let last = LastUse { org: call.org, key: call.key, at: call.at.whole_second(), address, program };
            state.batch.last_uses.insert(call.secret, last);
        }
    }

    /// Takes what was counted, to be written.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut self.lock().batch)
    }

    /// Notes that a batch was written.
    pub fn written(&self, batch: &Batch) {
        self.lock().written.extend(batch.last_uses.iter().map(|(secret, last)| (*secret, last.at)));
    }

    /// Takes back a batch that could not be written, to be written next time.
    pub fn give_back(&self, batch: &Batch) {
        self.lock().batch.merge(batch);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters are whole after each statement, so a panic elsewhere does not spoil them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn caller(&mut self, call: &Call<'_>, hour: Time) -> (String, String) {
        if self.known_hour != Some(hour) {
            self.known.clear();
            self.written.retain(|_, at| call.at.since(*at) < MINUTE);
            self.known_hour = Some(hour);
        }
        let caller = (call.address.to_canonical().to_string(), program(call.agent));
        let known = self.known.entry(call.secret).or_default();
        if known.contains(&caller) || known.len() < MAX_CALLERS {
            known.insert(caller.clone());
            caller
        } else {
            (OTHER.to_owned(), OTHER.to_owned())
        }
    }
}

impl Batch {
    fn merge(&mut self, other: &Batch) {
        for (cell, requests) in &other.cells {
            *self.cells.entry(cell.clone()).or_default() += requests;
        }
        for (caller, (requests, last_at)) in &other.callers {
            let counted = self.callers.entry(caller.clone()).or_insert((0, *last_at));
            *counted = (counted.0 + requests, counted.1.max(*last_at));
        }
        for (secret, last) in &other.last_uses {
            self.last_uses.entry(*secret).or_insert_with(|| last.clone());
        }
    }
}

/// The first product of a `User-Agent` (RFC 9110 section 10.1.5), as far as it can be shown.
fn program(agent: &str) -> String {
    let product = agent.split_whitespace().next().unwrap_or_default();
    let shown: String = product.chars().filter(char::is_ascii_graphic).take(MAX_PROGRAM).collect();
    if shown.is_empty() { "unknown".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_are_bounded_whatever_clients_send() {
        let meter = Meter::default();
        let at = Time::from_seconds(1_800_000_000);
        let (org, key, secret) = (OrgId::new(at), KeyId::new(at), SecretId::new(at));
        for number in 0..1_000_u32 {
            let agent = format!("agent/{number}");
            let address = std::net::IpAddr::from(number.to_be_bytes());
            meter.record(&Call {
                org,
                key,
                secret,
                scope: None,
                outcome: Outcome::Ok,
                address,
                agent: &agent,
                at,
            });
        }
        let state = meter.lock();
        assert_eq!(state.batch.callers.len(), MAX_CALLERS + 1);
        assert_eq!(state.batch.callers.values().map(|(requests, _)| requests).sum::<i64>(), 1_000);
        assert_eq!(state.batch.cells.values().sum::<i64>(), 1_000);
    }

    #[test]
    fn a_program_is_the_first_product_of_its_agent() {
        assert_eq!(program("openai-python/2.9.1 (linux) x"), "openai-python/2.9.1");
        assert_eq!(program(""), "unknown");
        assert_eq!(program(&"é\u{7}a".repeat(100)), "a".repeat(MAX_PROGRAM));
    }
}
