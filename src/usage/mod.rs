//! What keys are used for: counted, never logged call by call.

pub mod batch;
pub mod call;
pub mod counted;
pub mod export;
pub mod handover;
pub mod journal;
pub mod latency;
pub mod meter;
pub mod part;
pub mod question;
pub mod ranking;
pub mod recent;
pub mod refusals;
pub mod report;
pub mod sums;
pub mod top;
pub mod totals;

use std::sync::Arc;

use crate::db::{Conn, Db};
use crate::error::{Error, Result};
use crate::time::Time;
use crate::usage::batch::Batch;
use crate::usage::meter::{Flushing, Meter};
use crate::usage::sums::Keys;

/// Writes what was counted until `now`. While the database can't be reached the counts stay, to be
/// written next time.
pub async fn flush(meter: &Meter, db: &Db, now: Time) -> Result<()> {
    let mut flushing = meter.flushing.lock().await;
    if let Some((number, batch)) = flushing.unconfirmed.clone() {
        let written = write(meter, db, number, batch, now).await;
        match written {
            Err(error) if error.is_unavailable() => return Err(error),
            // Kept, it would hold up all later counts.
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

/// [`flush`], and notes when these keys were last used, for decisions that depend on it.
pub async fn flush_last_uses(meter: &Meter, db: &Db, keys: Keys, now: Time) -> Result<()> {
    flush(meter, db, now).await?;
    db.write(move |tx| sums::note_last_uses(tx, keys)).await
}

async fn write(meter: &Meter, db: &Db, number: i64, batch: Arc<Batch>, now: Time) -> Result<()> {
    let writer = meter.writer;
    db.write(move |tx| writer.write(tx, number, &batch, now)).await
}

/// Writes a batch that was not tried before; if it was refused, each organisation's part on its own.
async fn write_new(
    meter: &Meter,
    db: &Db,
    flushing: &mut Flushing,
    batch: Arc<Batch>,
    now: Time,
) -> Result<()> {
    let Err(error) = write_once(meter, db, flushing, batch.clone(), now).await else { return Ok(()) };
    if error.is_unavailable() {
        return Err(error);
    }
    tracing::error!(cause = ?error, "the database refused counts; each organisation's are written on their own");
    let mut parts = Arc::unwrap_or_clone(batch).by_org().into_iter();
    while let Some((org, part)) = parts.next() {
        match write_once(meter, db, flushing, Arc::new(part.clone()), now).await {
            Ok(()) => {}
            Err(error) if error.is_unavailable() => {
                parts.for_each(|(_, part)| meter.give_back(part, now));
                return Err(error);
            }
            // Were it kept, nothing would be counted any more.
            Err(error) => {
                let lost: i64 = part.counts.values().map(|uses| uses.sum.requests).sum();
                tracing::error!(cause = ?error, organization = %org, requests = lost, "counts are lost");
            }
        }
    }
    Ok(())
}

/// Writes a batch under a new number. It is kept for next time where it was not written for want of a
/// database, and where nobody knows.
async fn write_once(
    meter: &Meter,
    db: &Db,
    flushing: &mut Flushing,
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

/// Up to when everything that any process answered is counted. `own` is what this one knew before.
pub fn counted_until(conn: &mut Conn, meter: &Meter, own: Time, now: Time) -> Result<Time> {
    let others = meter.writer.others_counted_until(conn, now)?;
    Ok(others.map_or(own, |others| own.min(others.whole_second())))
}
