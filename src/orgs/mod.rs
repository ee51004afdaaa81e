//! Organisations, their members and what a role may do.

pub mod journal;
pub mod role;
pub mod setup;
pub mod store;
