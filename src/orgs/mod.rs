//! Organisations, their members and what a role may do.

pub mod calendar;
pub mod invitation;
pub mod journal;
pub mod membership;
pub mod role;
pub mod service;
pub mod setup;
pub mod store;
