//! Counts of the requests that use keys. Requests are never logged one by one, except the latest refused ones.
//!
//! A request is counted in memory ([`meter`]), written to the journal once a second ([`journal`]), and moved from there to
//! the tables of sums by minute, hour and day ([`sums`]). Queries read views that join both, so they include everything
//! that is written.

mod additions;
pub mod batch;
pub mod call;
pub mod export;
pub mod journal;
pub mod latency;
pub mod meter;
pub mod part;
pub mod question;
pub mod ranking;
pub mod recent;
pub mod refusals;
pub mod report;
pub mod rotation_progress;
pub mod secret_counters;
pub mod sums;
pub mod top;
pub mod totals;

use std::sync::Arc;

use crate::db::{Conn, Db};
use crate::error::{Error, Result};
use crate::time::Time;
use crate::usage::batch::Batch;
use crate::usage::meter::{FlushState, Meter};

/// Writes what was counted until `now`. Counts that can't be written are kept until next time.
pub async fn flush(meter: &Meter, db: &Db, now: Time) -> Result<()> {
    let mut flushing = meter.flushing.lock().await;
    if let Some((number, batch)) = flushing.unconfirmed.clone() {
        let written = write(meter, db, number, batch, now).await;
        match written {
            Err(error) if error.is_unavailable() => return Err(error),
            // If it were kept, it would block all later counts.
            Err(error) => tracing::error!(cause = ?error, "counts whose writing was unconfirmed may be lost"),
            Ok(()) => {}
        }
        flushing.unconfirmed = None;
    }
    let batch = Arc::new(meter.take(now));
    if batch.is_empty() {
        if std::mem::take(&mut flushing.is_counting) {
            let writer = meter.writer;
            db.write(move |tx| writer.rest(tx)).await?;
        }
    } else {
        flushing.is_counting = true;
        write_new(meter, db, &mut flushing, batch, now).await?;
    }
    meter.written(now);
    Ok(())
}

async fn write(meter: &Meter, db: &Db, number: i64, batch: Arc<Batch>, now: Time) -> Result<()> {
    let writer = meter.writer;
    db.write(move |tx| writer.write(tx, number, &batch, now)).await
}

/// Writes a new batch. If the database refuses it, writes each organisation's part separately.
async fn write_new(
    meter: &Meter,
    db: &Db,
    flushing: &mut FlushState,
    batch: Arc<Batch>,
    now: Time,
) -> Result<()> {
    let Err(error) = write_once(meter, db, flushing, batch.clone(), now).await else { return Ok(()) };
    if error.is_unavailable() {
        return Err(error);
    }
    tracing::error!(cause = ?error, "the database refused counts; writing those of each organisation separately");
    let mut parts = Arc::unwrap_or_clone(batch).by_org().into_iter();
    while let Some((org, part)) = parts.next() {
        match write_once(meter, db, flushing, Arc::new(part.clone()), now).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                parts.for_each(|(_, part)| meter.give_back(part, now));
                return Err(error);
            }
            // If it were kept, nothing would be counted any more.
            Err(error) => {
                let lost: i64 = part.counts.values().map(|uses| uses.sum.requests).sum();
                tracing::error!(cause = ?error, organization = %org, requests = lost, "counts are lost");
            }
        }
    }
    Ok(())
}

/// Writes a batch under a new number. It is kept for next time if the database is unavailable, or was lost during the commit.
async fn write_once(
    meter: &Meter,
    db: &Db,
    flushing: &mut FlushState,
    batch: Arc<Batch>,
    now: Time,
) -> Result<()> {
    flushing.number += 1;
    let written = write(meter, db, flushing.number, batch.clone(), now).await;
    match &written {
        Err(Error::Unavailable(_)) => meter.give_back(Arc::unwrap_or_clone(batch), now),
        Err(Error::Unconfirmed(_)) => flushing.unconfirmed = Some((flushing.number, batch)),
        _ => {}
    }
    written
}

/// The time up to which the requests of all processes are counted. `own` is that of this process before the query.
pub fn counted_until(conn: &mut Conn, meter: &Meter, own: Time, now: Time) -> Result<Time> {
    let others = meter.writer.others_counted_until(conn, now)?;
    Ok(others.map_or(own, |others| own.min(others.whole_second())))
}
