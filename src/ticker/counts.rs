//! Writes the counts of requests, adds them up, and deletes what is old.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::Result;
use crate::keys::feed;
use crate::mail::outbox;
use crate::people::oauth::flow;
use crate::people::{links, sessions, throttle};
use crate::time::Time;
use crate::usage;
use crate::web::{Site, idempotency};

const WRITE: Duration = Duration::from_secs(1);
/// Shortest pause between two runs that add up counts.
const SETTLE: Duration = Duration::from_secs(1);
/// The pause as a multiple of the last run's duration, up to [`LONGEST_REST`].
const REST: u32 = 30;
const LONGEST_REST: Duration = Duration::from_secs(15);
/// How long a stopping process may add up counts.
const LAST_SETTLE: Duration = Duration::from_millis(500);

/// Writes counts every second, and at once when a page waits for them.
pub(super) async fn write(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(WRITE);
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = site.meter.waiters.arrive() => {}
            _ = stop.changed() => break,
        }
        let waiting = site.meter.waiters.take();
        write_counts(&site).await;
        for waiter in waiting {
            // One that has gone needs no answer.
            let _ = waiter.send(());
        }
    }
    write_counts(&site).await;
    // Once more, to tell other processes that this one has nothing left to count.
    write_counts(&site).await;
    // The next process to start adds up what is left in the journal.
    let _ = tokio::time::timeout(LAST_SETTLE, usage::sums::settle(&site.db, || false)).await;
}

async fn write_counts(site: &Site) {
    if let Err(error) = usage::flush(&site.meter, &site.db, Time::now()).await {
        tracing::warn!(cause = ?error, "writing counts failed; retrying in a second");
    }
}

/// Moves counts from the journal to the tables of sums: every second where there are few, less often the
/// longer it takes.
pub(super) async fn settle(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut rest = SETTLE;
    loop {
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.changed() => return,
        }
        let began = Instant::now();
        if let Err(error) = usage::sums::settle(&site.db, || *stop.borrow()).await {
            tracing::warn!(cause = ?error, "adding up counts failed; retrying");
        }
        rest = (began.elapsed() * REST).clamp(SETTLE, LONGEST_REST);
    }
}

/// Deletes what is old at each tick.
pub(super) async fn forget(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(tick);
    loop {
        tokio::select! {
            _ = due.tick() => {
                if let Err(error) = forget_old(&site, Time::now()).await {
                    tracing::warn!(cause = ?error, "deleting old rows failed; retrying at the next tick");
                }
                site.limiter.forget_full(Instant::now());
            }
            _ = stop.changed() => break,
        }
    }
}

async fn forget_old(site: &Site, now: Time) -> Result<()> {
    site.db
        .write(move |tx| {
            sessions::forget_old(tx, now)?;
            flow::forget_old(tx, now)?;
            links::forget_old(tx, now)?;
            throttle::forget_old(tx, now)?;
            idempotency::forget_old(tx, now)?;
            feed::forget_old(tx, now)?;
            outbox::forget_old(tx, now)?;
            usage::sums::forget_old(tx, now)
        })
        .await
}
