//! Starts the loops over due work, one for each subject, so that slow work delays nothing else. The work
//! itself is in plain functions that take the time. A loop that finds nothing to do writes nothing.

mod counts;
mod feed;
mod logs;
mod mails;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::error::Result;
use crate::keys::feed::Reader;
use crate::notices::{bundle, sweep};
use crate::review::scan;
use crate::time::Time;
use crate::web::Site;

/// Starts all loops. They run until `stop` changes. `process` names this process.
pub fn start(
    site: &Arc<Site>,
    process: Reader,
    tick: Duration,
    stop: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let (site, stop) = (|| site.clone(), || stop.clone());
    vec![
        tokio::spawn(feed::follow(site(), process, stop())),
        tokio::spawn(counts::write(site(), stop())),
        tokio::spawn(counts::settle(site(), stop())),
        tokio::spawn(counts::forget(site(), tick, stop())),
        tokio::spawn(notify(site(), tick, stop())),
        tokio::spawn(mails::deliver(site(), process, tick, stop())),
        tokio::spawn(review(site(), tick, stop())),
        tokio::spawn(logs::check(site(), tick, stop())),
    ]
}

/// A timer that skips ticks missed during slow work.
fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The time until the second after an instant.
fn until(at: Time) -> Duration {
    Duration::from_secs(u64::try_from(at.since(Time::now()).max(0)).unwrap_or(0) + 1)
}

/// Scans keys for the review at each tick.
async fn review(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut due = every(tick);
    loop {
        tokio::select! {
            _ = due.tick() => {
                let scanned = scan::scan_all(&site.db, &site.scans, Time::now, || !*stop.borrow()).await;
                if let Err(error) = scanned {
                    tracing::warn!(cause = ?error, "scanning keys for the review failed; retrying at the next tick");
                }
            }
            _ = stop.changed() => break,
        }
    }
}

/// Queues notices about keys that expire soon, as soon as they are due.
async fn notify(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = site.db.keys_changed() => {}
            _ = stop.changed() => return,
        }
        wait = match queue_notices(&site).await {
            Ok(next) => next.map_or(tick, |at| tick.min(until(at))),
            Err(error) => {
                tracing::warn!(cause = ?error, "queueing notices failed; retrying at the next tick");
                tick
            }
        };
    }
}

/// Queues all notices that are due. Returns when the next may be due.
async fn queue_notices(site: &Site) -> Result<Option<Time>> {
    let mut next = site.db.read(sweep::next_at).await?;
    while next.is_some_and(|at| at <= Time::now()) {
        // Another process holds what is due and can't be claimed.
        if sweep::sweep_readable(&site.db, &site.defaults.notices, Time::now()).await? == 0 {
            break;
        }
        next = site.db.read(sweep::next_at).await?;
    }
    while site.db.read(bundle::waits).await? {
        let now = Time::now();
        if site.db.write(move |tx| bundle::bundle(tx, now)).await? == 0 {
            break;
        }
    }
    Ok(next)
}
