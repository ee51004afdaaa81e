//! A histogram of how long answers took: each bucket reaches twice as far as the one before.

use std::time::Duration;

/// How far the first bucket reaches, in microseconds.
const FIRST: u128 = 250;
/// How many buckets there are; the last holds all that took longer than 65 s.
pub const BUCKETS: usize = 20;

/// The bucket of an answer that took this long.
pub fn bucket(took: Duration) -> usize {
    (0..BUCKETS - 1).find(|bucket| took.as_micros() <= FIRST << bucket).unwrap_or(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_reaches_twice_as_far_as_the_one_before() {
        let cases =
            [(0, 0), (250, 0), (251, 1), (500, 1), (501, 2), (1_000, 2), (65_536_000, 18), (65_536_001, 19)];
        for (micros, expected) in cases {
            assert_eq!(bucket(Duration::from_micros(micros)), expected, "{micros} µs");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
