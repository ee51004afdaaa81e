//! Notices before a key expires: schedule, recipients and delivery.

pub mod bundle;
mod due_notice;
pub mod preference;
pub mod recipients;
pub mod schedule;
pub mod store;
pub mod sweep;
