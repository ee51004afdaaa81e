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
use crate::error::Result;
use crate::time::Time;
use crate::usage::meter::Meter;

/// Writes what was counted until `now`. After a failure the counts stay, to be written next time.
pub async fn flush(meter: &Meter, db: &Db, now: Time) -> Result<()> {
    let _alone = meter.flushing.lock().await;
    let batch = Arc::new(meter.take(now));
    if !batch.is_empty() {
        let rows = batch.clone();
        if let Err(error) = db.write(move |tx| store::add(tx, &rows, now)).await {
            meter.give_back(Arc::unwrap_or_clone(batch), now);
            return Err(error);
        }
    }
    meter.written(now);
    Ok(())
}
