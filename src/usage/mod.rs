//! What keys are used for: counted, never logged call by call.

pub mod meter;
pub mod store;

use std::sync::Arc;

use crate::db::Db;
use crate::error::Result;
use crate::usage::meter::Meter;

/// Writes what was counted. After a failure the counts stay, to be written next time.
pub async fn flush(meter: &Meter, db: &Db) -> Result<()> {
    let batch = Arc::new(meter.take());
    if batch.cells.is_empty() {
        return Ok(());
    }
    let rows = batch.clone();
    let result = db.write(move |tx| store::add(tx, &rows)).await;
    match result {
        Ok(()) => meter.written(&batch),
        Err(_) => meter.give_back(&batch),
    }
    result
}
