//! What keys are used for: counted, never logged call by call.

pub mod meter;
pub mod store;
