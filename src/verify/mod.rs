//! Checking a presented key: look-up, decision, limit.

pub mod decision;
pub mod limit;
pub mod table;
