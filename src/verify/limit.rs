//! The limit of a key: a token bucket, stored as one time stamp (the generic cell rate algorithm, ITU-T I.371).
//!
//! A bucket holds R tokens, where R is the key's requests per minute. It is full at first and refills evenly. So any t
//! seconds admit at most R + R·t/60 requests, and a client at or below R a minute is never refused.
//!
//! With Valkey, all processes share one bucket ([`shared`]). While Valkey is unavailable, each process has its share of a bucket:
//! its capacity and its rate are divided by the number of processes, so the time until it is full stays the same.

pub mod shared;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use crate::id::KeyId;
use crate::verify::limit::shared::Shared;

const MINUTE: u64 = 60_000_000_000;

/// The buckets of recently used keys.
pub struct Limiter {
    started: Instant,
    buckets: DashMap<KeyId, Bucket>,
    shared: Option<Arc<Shared>>,
    /// The number of processes.
    processes: AtomicU32,
}

/// A bucket as this process knows it.
#[derive(Clone, Copy)]
struct Bucket {
    /// When it is full again, in nanoseconds after the limiter started.
    full_at: u64,
    /// The connection to Valkey that last reported this; 0 for none.
    reported_by: u64,
}

/// The decision of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether a token was taken.
    pub allowed: bool,
    /// The capacity of the bucket.
    pub limit: u32,
    /// The tokens left.
    pub remaining: u32,
    /// Seconds until it is full, rounded up.
    pub full_in: u64,
    /// Seconds until the next token, rounded up; 0 if there is one.
    pub retry_after: u64,
}

/// Whether to take a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Take,
    Look,
}

impl Limiter {
    /// A limiter with full buckets, shared with other processes if there is a Valkey.
    pub fn new(started: Instant, shared: Option<Arc<Shared>>) -> Limiter {
        Limiter { started, buckets: DashMap::new(), shared, processes: AtomicU32::new(1) }
    }

    /// Takes a token from the key's bucket, if there is one.
    pub async fn take(&self, key: KeyId, limit: u32, now: Instant) -> Verdict {
        self.ask(key, limit, now, Act::Take).await
    }

    /// The decision of the key's bucket, without taking a token.
    pub async fn look(&self, key: KeyId, limit: u32, now: Instant) -> Verdict {
        self.ask(key, limit, now, Act::Look).await
    }

    async fn ask(&self, key: KeyId, limit: u32, now: Instant, act: Act) -> Verdict {
        let now = self.nanoseconds(now);
        let Some(shared) = &self.shared else { return self.ask_own(key, limit, 1, now, act) };
        if let Some(connection) = shared.connection() {
            let answer = connection.ask(key, limit, self.owed(key, connection.number, now), act == Act::Take);
            match answer.await {
                Ok((allowed, missing)) => {
                    let full_at = now + missing;
                    let bucket = Bucket { full_at, reported_by: connection.number };
                    if act == Act::Take {
                        self.buckets.insert(key, bucket);
                    }
                    return Verdict { allowed, ..look(full_at, now, Rate::of(limit, 1)) };
                }
                Err(error) => shared.lost(connection.number, &error),
            }
        }
        self.ask_own(key, limit, self.processes.load(Relaxed).max(1), now, act)
    }

    /// The use of the bucket that only this process knows, in nanoseconds of its refill: Valkey may have lost what it knew
    /// before it was away, and does not know what was taken meanwhile.
    fn owed(&self, key: KeyId, connection: u64, now: u64) -> Duration {
        let bucket = self.buckets.get(&key).filter(|bucket| bucket.reported_by != connection);
        Duration::from_nanos(bucket.map_or(0, |bucket| bucket.full_at.saturating_sub(now)))
    }

    fn ask_own(&self, key: KeyId, limit: u32, processes: u32, now: u64, act: Act) -> Verdict {
        let rate = Rate::of(limit, processes);
        if act == Act::Look {
            let full_at = self.buckets.get(&key).map_or(now, |bucket| bucket.full_at);
            return look(full_at, now, rate);
        }
        let mut bucket = self.buckets.entry(key).or_insert(Bucket { full_at: now, reported_by: 0 });
        let (next, verdict) = take(bucket.full_at, now, rate);
        *bucket = Bucket { full_at: next, reported_by: 0 };
        verdict
    }

    /// Sets the number of processes.
    pub fn note_processes(&self, processes: u32) {
        self.processes.store(processes, Relaxed);
    }

    /// How limits are enforced at the moment.
    pub fn state(&self) -> State {
        let processes = self.processes.load(Relaxed).max(1);
        match &self.shared {
            None if processes > 1 => State::PerProcess(processes),
            None => State::Exact,
            Some(shared) if shared.connection().is_some() => State::Exact,
            Some(_) => State::Divided(processes),
        }
    }

    /// Drops full buckets, which are like new ones.
    pub fn forget_full(&self, now: Instant) {
        let now = self.nanoseconds(now);
        self.buckets.retain(|_, bucket| bucket.full_at > now);
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// How limits are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Each key has one bucket.
    Exact,
    /// Valkey is unavailable: each of this many processes has its share of each bucket.
    Divided(u32),
    /// There is no Valkey: each of this many processes has whole buckets of its own.
    PerProcess(u32),
}

/// The rate and the capacity of a bucket.
#[derive(Clone, Copy)]
struct Rate {
    limit: u32,
    /// Nanoseconds to the next token.
    interval: u64,
    tokens: u64,
}

impl Rate {
    /// The share of one of so many processes.
    fn of(limit: u32, processes: u32) -> Rate {
        Rate {
            limit,
            // Rounded up, so that not one request more than the rate passes.
            interval: (MINUTE * u64::from(processes)).div_ceil(u64::from(limit.max(1))),
            tokens: u64::from(limit / processes).max(1),
        }
    }

    fn capacity(self) -> u64 {
        self.interval * self.tokens
    }
}

/// One request at `now` against a bucket that is full at `full_at`.
fn take(full_at: u64, now: u64, rate: Rate) -> (u64, Verdict) {
    // A lower limit than before may leave more than a whole bucket to fill.
    let full_at = full_at.clamp(now, now + rate.capacity());
    let before = look(full_at, now, rate);
    if !before.allowed {
        return (full_at, before);
    }
    let next = full_at + rate.interval;
    (next, Verdict { allowed: true, ..look(next, now, rate) })
}

fn seconds_up(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

/// The bucket as it stands at `now`.
fn look(full_at: u64, now: u64, rate: Rate) -> Verdict {
    let (interval, capacity) = (rate.interval, rate.capacity());
    let missing = full_at.clamp(now, now + capacity) - now;
    let remaining = (capacity - missing) / interval;
    let wait = if remaining > 0 { 0 } else { missing + interval - capacity };
    Verdict {
        allowed: remaining > 0,
        limit: rate.limit,
        remaining: u32::try_from(remaining).unwrap_or(rate.limit),
        full_in: seconds_up(missing),
        retry_after: seconds_up(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burst_of_exactly_the_limit_is_admitted() {
        for limit in [1, 7, 60, 600, 1_000_000] {
            let (mut full_at, mut passed) = (0, 0);
            for _ in 0..limit + 50 {
                let (next, verdict) = take(full_at, 0, Rate::of(limit, 1));
                full_at = next;
                passed += u32::from(verdict.allowed);
                assert_eq!(verdict.remaining, limit - passed);
            }
            assert_eq!(passed, limit);
        }
    }

    #[test]
    fn a_client_at_its_limit_is_never_refused() {
        for limit in [1_u32, 7, 60, 999] {
            let mut full_at = 0;
            for request in 0..20_000_u64 {
                let now = request * MINUTE / u64::from(limit);
                let (next, verdict) = take(full_at, now, Rate::of(limit, 1));
                full_at = next;
                assert!(verdict.allowed, "request {request} at {limit} a minute");
            }
        }
    }

    #[test]
    fn any_period_admits_at_most_a_bucket_and_its_refill() {
        let (mut full_at, mut passed) = (0, 0_u64);
        let limit = 60;
        for step in 0..100_000_u64 {
            let now = step * 7_000_000;
            let (next, verdict) = take(full_at, now, Rate::of(limit, 1));
            full_at = next;
            passed += u64::from(verdict.allowed);
            assert!(passed <= 60 + now * 60 / MINUTE, "after {now} ns");
        }
    }

    #[test]
    fn a_refusal_says_when_the_next_token_comes() {
        let full_at = (0..60).fold(0, |full_at, _| take(full_at, 0, Rate::of(60, 1)).0);
        let (after, refused) = take(full_at, 0, Rate::of(60, 1));
        assert_eq!(refused, Verdict { allowed: false, limit: 60, remaining: 0, full_in: 60, retry_after: 1 });
        assert_eq!(after, full_at, "a refusal takes no token");
        assert!(take(full_at, 1_000_000_000, Rate::of(60, 1)).1.allowed);
    }

    #[test]
    fn shares_of_a_bucket_admit_together_what_one_bucket_admits() {
        for (limit, processes) in [(600_u32, 3_u32), (1_000, 7), (60, 2)] {
            let mut buckets = vec![0; processes as usize];
            let mut passed = 0;
            for step in 0..60_000_u64 {
                let now = step * 1_000_000;
                for full_at in &mut buckets {
                    let (next, verdict) = take(*full_at, now, Rate::of(limit, processes));
                    *full_at = next;
                    passed += u32::from(verdict.allowed);
                }
            }
            // A bucket and its refill of a minute.
            let most = 2 * limit;
            assert!(passed <= most + processes && passed * 100 >= most * 98, "{passed} of {most}");
        }
    }
}
