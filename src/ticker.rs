//! The only loop over due work: writes counts every second, and forgets what is old at each
//! tick. The work itself is in plain functions that take the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::error::Result;
use crate::people::sign_in;
use crate::time::Time;
use crate::usage;
use crate::web::{Site, idempotency, session};

const FLUSH: Duration = Duration::from_secs(1);

/// Runs until `stop` changes, then writes the last counts.
pub async fn run(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut flush = tokio::time::interval(FLUSH);
    let mut due = tokio::time::interval(tick);
    loop {
        tokio::select! {
            _ = flush.tick() => write_counts(&site).await,
            _ = due.tick() => {
                if let Err(error) = forget_old(&site, Time::now()).await {
                    tracing::warn!(%error, "due work failed; it is tried again at the next tick");
                }
                site.limiter.forget_full(Instant::now());
            }
            _ = stop.changed() => break,
        }
    }
    write_counts(&site).await;
}

async fn write_counts(site: &Site) {
    if let Err(error) = usage::flush(&site.meter, &site.db).await {
        tracing::warn!(%error, "counts could not be written; they are kept");
    }
}

async fn forget_old(site: &Site, now: Time) -> Result<()> {
    site.db
        .write(move |tx| {
            session::forget_old(tx, now)?;
            sign_in::forget_old(tx, now)?;
            idempotency::forget_old(tx, now)?;
            usage::store::forget_old(tx, now)
        })
        .await
}
