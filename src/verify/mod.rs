//! Checking a presented key: look-up, decision, limit.

pub mod decision;
pub mod limit;
#[cfg(test)]
mod model;
pub mod principal;
mod strangers;
pub mod table;
