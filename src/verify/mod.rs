//! Checks presented keys: look-up, decision, limit.

pub mod decision;
mod lease;
pub mod limit;
mod look_up;
#[cfg(test)]
mod model;
pub mod principal;
mod strangers;
pub mod table;
