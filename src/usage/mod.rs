//! What keys are used for: counted, never logged call by call.

pub mod batch;
pub mod call;
pub mod counted;
pub mod export;
pub mod handover;
pub mod latency;
pub mod meter;
pub mod part;
pub mod question;
pub mod ranking;
pub mod recent;
pub mod refusals;
pub mod report;
pub mod store;
pub mod summary;
pub mod top;
pub mod totals;
mod upsert;
pub mod window_rows;
pub mod windows;

use std::sync::Arc;

use crate::db::Db;
use crate::error::{Error, Result};
use crate::time::Time;
use crate::usage::batch::Batch;
use crate::usage::meter::Meter;

/// Writes what was counted until `now`. While the database can't be reached the counts stay, to be
/// written next time.
pub async fn flush(meter: &Meter, db: &Db, now: Time) -> Result<()> {
    let _alone = meter.flushing.lock().await;
    let batch = Arc::new(meter.take(now));
    if !batch.is_empty() {
        match write(db, batch.clone(), now).await {
            Ok(()) => {}
            Err(error @ Error::Unavailable(_)) => {
                meter.give_back(Arc::unwrap_or_clone(batch), now);
                return Err(error);
            }
            Err(error) => write_apart(meter, db, Arc::unwrap_or_clone(batch), error, now).await?,
        }
    }
    meter.written(now);
    Ok(())
}

async fn write(db: &Db, batch: Arc<Batch>, now: Time) -> Result<()> {
    db.write(move |tx| store::add(tx, &batch, now)).await
}

/// Writes each organisation's part for itself, since the database refused the whole. A part that it
/// refuses too is lost: were it kept, nothing would be counted any more.
async fn write_apart(meter: &Meter, db: &Db, batch: Batch, error: Error, now: Time) -> Result<()> {
    tracing::error!(cause = ?error, "the database refused counts; each organisation's are written apart");
    let mut unavailable = Ok(());
    for (org, part) in batch.by_org() {
        let part = Arc::new(part);
        match write(db, part.clone(), now).await {
            Ok(()) => {}
            Err(error @ Error::Unavailable(_)) => {
                meter.give_back(Arc::unwrap_or_clone(part), now);
                unavailable = Err(error);
            }
            Err(error) => {
                let lost: i64 = part.counts.values().map(|sum| sum.requests).sum();
                tracing::error!(cause = ?error, organization = %org, requests = lost, "counts are lost");
            }
        }
    }
    unavailable
}
