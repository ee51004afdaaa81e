//! The counters of one secret. Counting a request with known names allocates nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::id::{KeyId, OrgId, SecretId};
use crate::key_text::contains_key;
use crate::scope::Scope;
use crate::text::is_forbidden;
use crate::time::Time;
use crate::usage::batch::{Batch, Cell, Uses};
use crate::usage::call::{Call, Outcome};
use crate::usage::latency;
use crate::usage::totals::Sum;

/// The most clients of a secret that are counted separately within an hour.
pub const MAX_CALLERS: usize = 64;
/// The most models of a secret that are counted separately within an hour.
pub const MAX_MODELS: usize = 32;
const MAX_NAME: usize = 64;
const OTHER: &str = "other";
/// The address of requests whose address is unknown.
const UNKNOWN: &str = "unknown";
/// The most tokens that one request counts, so that sums stay far from the limit of an `i64`.
const MAX_TOKENS: u64 = 1 << 40;

/// The dimensions of a count, without texts, so that counting allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Slot {
    minute: Time,
    scope: Option<Scope>,
    /// The place among the secret's models.
    model: usize,
    outcome: Outcome,
    bucket: Option<i16>,
    /// The place among the secret's callers.
    caller: usize,
}

/// The counters of one secret.
pub struct SecretCounters {
    org: OrgId,
    key: KeyId,
    /// The hour of the names below.
    pub hour: Time,
    /// The requested models; the first is empty.
    models: Vec<Arc<str>>,
    /// The clients; the first stands for all beyond [`MAX_CALLERS`].
    callers: Vec<Caller>,
    slots: HashMap<Slot, Uses>,
}

/// A client of a secret.
struct Caller {
    group: Option<IpAddr>,
    address: Arc<str>,
    program: Arc<str>,
}

impl SecretCounters {
    /// No counts, for the secret and the hour of this request.
    pub fn new(call: &Call<'_>) -> SecretCounters {
        let others = Caller { group: None, address: OTHER.into(), program: OTHER.into() };
        SecretCounters {
            org: call.org,
            key: call.key,
            hour: call.at.hour(),
            models: vec!["".into()],
            callers: vec![others],
            slots: HashMap::new(),
        }
    }

    /// Counts a request.
    pub fn record(&mut self, call: &Call<'_>) {
        let slot = Slot {
            minute: call.at.minute(),
            scope: call.scope,
            model: self.model(call.model),
            outcome: call.outcome,
            bucket: (call.outcome == Outcome::Ok).then(|| latency::bucket(call.took)),
            caller: self.caller(call),
        };
        let tokens = |tokens: u64| tokens.min(MAX_TOKENS).cast_signed();
        self.slots.entry(slot).or_insert(Uses::none(call.at)).add(Uses {
            sum: Sum {
                requests: 1,
                input_tokens: tokens(call.tokens.input),
                output_tokens: tokens(call.tokens.output),
                cached_tokens: tokens(call.tokens.cached),
                cache_write_tokens: tokens(call.tokens.cache_write),
                reasoning_tokens: tokens(call.tokens.reasoning),
            },
            last_at: call.at,
        });
    }

    /// The place of a model's name. The last place is for all beyond [`MAX_MODELS`].
    fn model(&mut self, name: &str) -> usize {
        let known = |models: &[Arc<str>], name: &str| models.iter().position(|known| **known == *name);
        let name = shown(name);
        if let Some(place) = known(&self.models, name) {
            return place;
        }
        // Model names are shown and exported, so invalid ones count as `other`.
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

    /// The place of a client. The first place is for all beyond [`MAX_CALLERS`].
    fn caller(&mut self, call: &Call<'_>) -> usize {
        let (group, program) = (group(call.address), program(call.agent));
        let known = |callers: &[Caller], program: &str| {
            let mut named = callers.iter().skip(1);
            named
                .position(|caller| caller.group == group && *caller.program == *program)
                .map(|place| place + 1)
        };
        if let Some(place) = known(&self.callers, program) {
            return place;
        }
        let program = if contains_key(program) { OTHER } else { program };
        if let Some(place) = known(&self.callers, program) {
            return place;
        }
        if self.callers.len() > MAX_CALLERS {
            return 0;
        }
        self.callers.push(Caller { group, address: group_name(group).into(), program: program.into() });
        self.callers.len() - 1
    }

    /// Whether all counts were moved into a batch.
    pub fn is_written(&self) -> bool {
        self.slots.is_empty()
    }

    /// Moves the counts into a batch; the names stay.
    pub fn take(&mut self, secret: SecretId, batch: &mut Batch) {
        for (slot, uses) in self.slots.drain() {
            let caller = &self.callers[slot.caller];
            let cell = Cell {
                org: self.org,
                key: self.key,
                secret,
                start: slot.minute,
                scope: slot.scope.map_or("", Scope::name),
                model: self.models[slot.model].clone(),
                outcome: slot.outcome.name(),
                bucket: slot.bucket,
                address: caller.address.clone(),
                program: caller.program.clone(),
            };
            batch.add(cell, uses);
        }
    }
}

/// The group of an address. IPv6 addresses are grouped by the network of a site (RFC 4291 section 2.5.4), because
/// machines change their addresses within it.
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

/// The first product of a `User-Agent` (RFC 9110 section 10.1.5), up to the first character that can't be shown.
fn program(agent: &str) -> &str {
    let product = agent.split_whitespace().next().unwrap_or_default();
    let end = product.bytes().take(MAX_NAME).take_while(u8::is_ascii_graphic).count();
    if end == 0 { "unknown" } else { &product[..end] }
}

/// Whether a text can be a model's name: one line without a key.
fn is_name(text: &str) -> bool {
    !text.chars().any(is_forbidden) && !contains_key(text)
}

/// A model's name, shortened to what is stored.
fn shown(model: &str) -> &str {
    let end = model.char_indices().nth(MAX_NAME).map_or(model.len(), |(end, _)| end);
    &model[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_the_first_product_of_its_agent() {
        assert_eq!(program("openai-python/2.9.1 (linux) x"), "openai-python/2.9.1");
        assert_eq!(program(""), "unknown");
        assert_eq!(program(&"a".repeat(100)), "a".repeat(MAX_NAME));
        assert_eq!(program("abc\u{7}é"), "abc");
        assert_eq!(program("é"), "unknown");
    }

    #[test]
    fn address_is_counted_with_its_site() {
        let named = |text: &str| group_name(group(Some(text.parse().unwrap())));
        assert_eq!(named("203.0.113.7"), "203.0.113.7");
        assert_eq!(named("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(named("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(named("::1"), "::1");
    }
}
