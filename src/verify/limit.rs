//! The limit of a key: a token bucket, kept as one time stamp (the generic cell rate
//! algorithm, ITU-T I.371).
//!
//! A bucket holds as many tokens as the key may make requests a minute, is full at first
//! and fills evenly. So any t seconds pass at most R + R·t/60 requests, and a client at or
//! below R a minute is never refused.

use std::time::Instant;

use dashmap::DashMap;

use crate::id::KeyId;

const MINUTE: u64 = 60_000_000_000;

/// The buckets of all keys that were used lately.
pub struct Limiter {
    started: Instant,
    /// For each key the time, in nanoseconds after `started`, at which its bucket is full again.
    full_at: DashMap<KeyId, u64>,
}

/// What a bucket said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether a token was taken.
    pub allowed: bool,
    /// How many tokens the bucket can hold.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// Seconds until it is full, rounded up.
    pub full_in: u64,
    /// Seconds until the next token, rounded up; 0 if there is one.
    pub retry_after: u64,
}

impl Limiter {
    /// All buckets full.
    pub fn new(started: Instant) -> Limiter {
        Limiter { started, full_at: DashMap::new() }
    }

    /// Takes a token from the key's bucket, if there is one.
    pub fn take(&self, key: KeyId, limit: u32, now: Instant) -> Verdict {
        let now = self.nanoseconds(now);
        let mut full_at = self.full_at.entry(key).or_insert(now);
        let (next, verdict) = take(*full_at, now, limit);
        *full_at = next;
        verdict
    }

    /// What the key's bucket would say, without taking a token.
    pub fn look(&self, key: KeyId, limit: u32, now: Instant) -> Verdict {
        let now = self.nanoseconds(now);
        let full_at = self.full_at.get(&key).map_or(now, |full_at| *full_at);
        look(full_at, now, limit)
    }

    /// Forgets the buckets that are full: they are as good as new.
    pub fn forget_full(&self, now: Instant) {
        let now = self.nanoseconds(now);
        self.full_at.retain(|_, full_at| *full_at > now);
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One request at `now` against a bucket that is full at `full_at`.
fn take(full_at: u64, now: u64, limit: u32) -> (u64, Verdict) {
    // Rounded up, so that not one request more than the rate passes.
    let interval = MINUTE.div_ceil(u64::from(limit));
    // A lower limit than before may leave more than a whole bucket to fill.
    let full_at = full_at.clamp(now, now + interval * u64::from(limit));
    let before = look(full_at, now, limit);
    if !before.allowed {
        return (full_at, before);
    }
    let next = full_at + interval;
    (next, Verdict { allowed: true, ..look(next, now, limit) })
}

fn seconds_up(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

/// The bucket as it stands at `now`.
fn look(full_at: u64, now: u64, limit: u32) -> Verdict {
    let interval = MINUTE.div_ceil(u64::from(limit));
    let capacity = interval * u64::from(limit);
    let missing = full_at.clamp(now, now + capacity) - now;
    let remaining = (capacity - missing) / interval;
    let wait = if remaining > 0 { 0 } else { missing + interval - capacity };
    Verdict {
        allowed: remaining > 0,
        limit,
        remaining: u32::try_from(remaining).unwrap_or(limit),
        full_in: seconds_up(missing),
        retry_after: seconds_up(wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_exactly_the_limit() {
        for limit in [1, 7, 60, 600, 1_000_000] {
            let (mut full_at, mut passed) = (0, 0);
            for _ in 0..limit + 50 {
                let (next, verdict) = take(full_at, 0, limit);
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
                let (next, verdict) = take(full_at, now, limit);
                full_at = next;
                assert!(verdict.allowed, "request {request} at {limit} a minute");
            }
        }
    }

    #[test]
    fn any_stretch_of_time_passes_at_most_a_bucket_and_its_refill() {
        let (mut full_at, mut passed) = (0, 0_u64);
        let limit = 60;
        for step in 0..100_000_u64 {
            let now = step * 7_000_000;
            let (next, verdict) = take(full_at, now, limit);
            full_at = next;
            passed += u64::from(verdict.allowed);
            assert!(passed <= 60 + now * 60 / MINUTE, "after {now} ns");
        }
    }

    #[test]
    fn a_refusal_says_when_the_next_token_comes() {
        let full_at = (0..60).fold(0, |full_at, _| take(full_at, 0, 60).0);
        let (after, refused) = take(full_at, 0, 60);
        assert_eq!(refused, Verdict { allowed: false, limit: 60, remaining: 0, full_in: 60, retry_after: 1 });
        assert_eq!(after, full_at, "a refusal takes no token");
        assert!(take(full_at, 1_000_000_000, 60).1.allowed);
    }
}
