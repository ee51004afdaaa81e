//! A histogram of latencies: each bucket is twice as wide as the one before.

use std::time::Duration;

/// The end of the first bucket, in microseconds.
const FIRST: u128 = 250;
/// The number of buckets; the last one holds latencies above 65 s.
const BUCKETS: usize = 20;
const LAST: i16 = BUCKETS as i16 - 1;

/// The bucket of a latency.
pub fn bucket(took: Duration) -> i16 {
    (0..LAST).find(|bucket| took.as_micros() <= FIRST << bucket).unwrap_or(LAST)
}

/// The number of answers in each bucket.
#[derive(Clone, Copy, Debug, Default)]
pub struct Histogram([i64; BUCKETS]);

impl Histogram {
    /// Adds answers of one bucket.
    pub fn add(&mut self, bucket: i16, requests: i64) {
        let place = usize::try_from(bucket).unwrap_or(0).min(BUCKETS - 1);
        self.0[place] += requests;
    }

    /// Within which time so many percent of the answers began: the end of their bucket, or `None`
    /// where there is none. `Some(None)` is longer than any bucket reaches.
    pub fn within(&self, percent: i64) -> Option<Option<Duration>> {
        let all: i64 = self.0.iter().sum();
        let mut seen = 0;
        let bucket = self.0.iter().position(|requests| {
            seen += requests;
            all > 0 && seen * 100 >= all * percent
        })?;
        let micros = u64::try_from(FIRST << bucket).ok();
        Some(micros.filter(|_| bucket < BUCKETS - 1).map(Duration::from_micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bucket_reaches_twice_as_far_as_the_previous_one() {
        let cases =
            [(0, 0), (250, 0), (251, 1), (500, 1), (501, 2), (1_000, 2), (65_536_000, 18), (65_536_001, 19)];
        for (micros, expected) in cases {
            assert_eq!(bucket(Duration::from_micros(micros)), expected, "{micros} µs");
        }
        assert_eq!(bucket(Duration::MAX), LAST);
    }

    #[test]
    fn a_percentile_is_the_end_of_the_bucket_that_reaches_it() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.within(50), None);
        histogram.add(2, 94);
        histogram.add(4, 6);
        assert_eq!(histogram.within(50), Some(Some(Duration::from_millis(1))));
        assert_eq!(histogram.within(94), Some(Some(Duration::from_millis(1))));
        assert_eq!(histogram.within(95), Some(Some(Duration::from_millis(4))));
        histogram.add(19, 1_000);
        assert_eq!(histogram.within(95), Some(None));
    }
}
