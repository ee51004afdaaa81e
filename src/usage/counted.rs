//! The counters of one secret. Counting a call whose names were seen before allocates nothing.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::id::{KeyId, OrgId, SecretId};
use crate::keys::secret::contains_key;
use crate::scope::Scope;
use crate::text::forbidden_character;
use crate::time::{MINUTE, Time};
use crate::usage::batch::{Batch, Caller, Cell, LastUse, Latency, Sum};
use crate::usage::call::{Call, Outcome};
use crate::usage::latency::{self, BUCKETS};

/// How many callers of a secret are told apart within an hour.
pub const MAX_CALLERS: usize = 64;
/// How many models that are called with a secret are told apart within an hour.
pub const MAX_MODELS: usize = 32;
const MAX_NAME: usize = 64;
const OTHER: &str = "other";
/// The address of requests whose address is unknown.
const UNKNOWN: &str = "unknown";
/// What is counted apart of one secret, without texts, so that counting allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Slot {
    minute: Time,
    scope: Option<Scope>,
    /// The place among the secret's models.
    model: usize,
    outcome: Outcome,
}

#[derive(Default)]
struct Slotted {
    sum: Sum,
    took: [u32; BUCKETS],
}

/// The counters of one secret.
pub struct Counted {
    org: OrgId,
    key: KeyId,
    /// The hour for which names are held.
    pub hour: Time,
    /// The models that were asked for; the first is none.
    models: Vec<Box<str>>,
    slots: HashMap<Slot, Slotted>,
    callers: Vec<Named>,
    /// All other callers.
    others: Uses,
    /// The caller of the last request, if it is known by name.
    last: (Time, Option<usize>),
    /// Up to when the last use was taken to be written.
    last_written: Option<Time>,
}

/// A caller of a secret.
struct Named {
    group: Option<IpAddr>,
    program: Box<str>,
    uses: Uses,
}

/// Requests and the latest of them, since these were last taken.
struct Uses {
    requests: i64,
    last_at: Time,
}

impl Counted {
    /// Nothing counted, for the secret and the hour of this call.
    pub fn new(call: &Call<'_>) -> Counted {
        Counted {
            org: call.org,
            key: call.key,
            hour: call.at.hour(),
            models: vec!["".into()],
            slots: HashMap::new(),
            callers: Vec::new(),
            others: Uses { requests: 0, last_at: call.at },
            last: (call.at, None),
            last_written: None,
        }
    }

    /// The same secret in the hour of a later call, in which other names may be called.
    pub fn in_next_hour(&self, call: &Call<'_>) -> Counted {
        Counted { last_written: self.last_written, ..Counted::new(call) }
    }

    /// Counts a call.
    pub fn record(&mut self, call: &Call<'_>) {
        let slot = Slot {
            minute: call.at.minute(),
            scope: call.scope,
            model: self.model(call.model),
            outcome: call.outcome,
        };
        let slotted = self.slots.entry(slot).or_default();
        slotted.sum.add(Sum {
            requests: 1,
            input_tokens: i64::try_from(call.tokens.input).unwrap_or(i64::MAX),
            output_tokens: i64::try_from(call.tokens.output).unwrap_or(i64::MAX),
        });
        if call.outcome == Outcome::Ok {
            slotted.took[latency::bucket(call.took)] += 1;
        }
        let caller = self.caller(call);
        let uses = caller.map_or(&mut self.others, |place| &mut self.callers[place].uses);
        uses.requests += 1;
        uses.last_at = call.at.max(uses.last_at);
        self.last = (call.at, caller);
    }

    /// The place of a model's name. The last place is for all that are too many.
    fn model(&mut self, name: &str) -> usize {
        let known = |models: &[Box<str>], name: &str| models.iter().position(|known| **known == *name);
        let name = shown(name);
        if let Some(place) = known(&self.models, name) {
            return place;
        }
        // It is told on pages and in files, so what is no name counts as `other`.
        let name = if is_name(name) { name } else { OTHER };
        if let Some(place) = known(&self.models, name) {
            return place;
        }
        if self.models.len() <= MAX_MODELS {
            self.models.push(name.into());
        } else if self.models.len() == MAX_MODELS + 1 {
            self.models.push(OTHER.into());
        }
        self.models.len() - 1
    }

    /// The place of a caller, unless there are too many.
    fn caller(&mut self, call: &Call<'_>) -> Option<usize> {
        let (group, program) = (group(call.address), program(call.agent));
        let known = |callers: &[Named], program: &str| {
            callers.iter().position(|named| named.group == group && *named.program == *program)
        };
        if let Some(place) = known(&self.callers, program) {
            return Some(place);
        }
        let program = if contains_key(program) { OTHER } else { program };
        if let Some(place) = known(&self.callers, program) {
            return Some(place);
        }
        if self.callers.len() == MAX_CALLERS {
            return None;
        }
        let uses = Uses { requests: 0, last_at: call.at };
        self.callers.push(Named { group, program: program.into(), uses });
        Some(self.callers.len() - 1)
    }

    /// Moves the counts into a batch; the names stay.
    pub fn take(&mut self, secret: SecretId, batch: &mut Batch) {
        let (org, key) = (self.org, self.key);
        if self.slots.is_empty() {
            return;
        }
        for (slot, counted) in self.slots.drain() {
            let (start, scope) = (slot.minute, slot.scope.map_or("", Scope::name));
            let model = String::from(self.models[slot.model].clone());
            let took = counted.took.iter().enumerate().filter(|(_, requests)| **requests > 0);
            for (bucket, &requests) in took {
                let bucket = i16::try_from(bucket).unwrap_or(i16::MAX);
                let latency = Latency { org, key, start, scope, model: model.clone(), bucket };
                *batch.latencies.entry(latency).or_default() += i64::from(requests);
            }
            let cell = Cell { org, key, start, secret, scope, model, outcome: slot.outcome.name() };
            batch.counts.entry(cell).or_default().add(counted.sum);
        }
        let hour = self.hour;
        let mut add = |(address, program), uses: &mut Uses| {
            let requests = std::mem::take(&mut uses.requests);
            if requests > 0 {
                batch.add_caller(Caller { org, key, secret, hour, address, program }, requests, uses.last_at);
            }
        };
        for named in &mut self.callers {
            add(named.shown(), &mut named.uses);
        }
        add(unnamed(), &mut self.others);
        let (at, caller) = self.last;
        if self.last_written.is_none_or(|written| at.since(written) >= MINUTE) {
            let (address, program) = caller.map_or_else(unnamed, |place| self.callers[place].shown());
            batch.last_uses.insert(secret, LastUse { org, key, at: at.whole_second(), address, program });
            self.last_written = Some(at);
        }
    }
}

impl Named {
    /// The address group and the program.
    fn shown(&self) -> (String, String) {
        (group_name(self.group), self.program.to_string())
    }
}

fn unnamed() -> (String, String) {
    (OTHER.to_owned(), OTHER.to_owned())
}

/// An address as it is counted: IPv6 by the network of a site (RFC 4291 section 2.5.4), within
/// which a machine changes its address at will.
fn group(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        address => address,
    })
}

fn group_name(group: Option<IpAddr>) -> String {
    match group {
        Some(IpAddr::V6(v6)) if !v6.is_loopback() => format!("{v6}/64"),
        Some(address) => address.to_string(),
        None => UNKNOWN.to_owned(),
    }
}

/// The first product of a `User-Agent` (RFC 9110 section 10.1.5), as far as it can be shown.
fn program(agent: &str) -> &str {
    let product = agent.split_whitespace().next().unwrap_or_default();
    let end = product.bytes().take(MAX_NAME).take_while(u8::is_ascii_graphic).count();
    if end == 0 { "unknown" } else { &product[..end] }
}

/// Whether a text can be a model's name: one line, and no key that someone put there.
fn is_name(text: &str) -> bool {
    !text.chars().any(forbidden_character) && !contains_key(text)
}

/// A model's name as far as it is kept.
fn shown(model: &str) -> &str {
    let end = model.char_indices().nth(MAX_NAME).map_or(model.len(), |(end, _)| end);
    &model[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_the_first_product_of_its_agent() {
        assert_eq!(program("openai-python/2.9.1 (linux) x"), "openai-python/2.9.1");
        assert_eq!(program(""), "unknown");
        assert_eq!(program(&"a".repeat(100)), "a".repeat(MAX_NAME));
        assert_eq!(program("abc\u{7}é"), "abc");
        assert_eq!(program("é"), "unknown");
    }

    #[test]
    fn an_address_is_counted_with_its_site() {
        let named = |text: &str| group_name(group(Some(text.parse().unwrap())));
        assert_eq!(named("203.0.113.7"), "203.0.113.7");
        assert_eq!(named("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(named("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(named("::1"), "::1");
    }
}
