//! The lease of a process on its keys in memory: it lasts for a fixed time after the start of the last successful
//! read of the feed.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A lease, which has ended until it is renewed.
pub(super) struct Lease {
    started: Instant,
    lasts: Duration,
    /// When it ends, in microseconds after `started`.
    until: AtomicU64,
}

impl Lease {
    /// The ended lease of a process that started at `started`.
    pub(super) fn new(lasts: Duration, started: Instant) -> Lease {
        Lease { started, lasts, until: AtomicU64::new(0) }
    }

    /// Renews it, counted from `began`. It never gets shorter.
    pub(super) fn renew(&self, began: Instant) {
        self.until.fetch_max(self.microseconds(began + self.lasts), SeqCst);
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.until.store(0, SeqCst);
    }

    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        self.microseconds(now) < self.until.load(SeqCst)
    }

    /// The time since the read that last renewed it; `None` while it lasts.
    pub(super) fn lapsed(&self, now: Instant) -> Option<Duration> {
        let since = self.microseconds(now).checked_sub(self.until.load(SeqCst))?;
        Some(Duration::from_micros(since) + self.lasts)
    }

    fn microseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }
}
