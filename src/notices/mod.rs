//! Warnings before a key ends: when they are due, who gets them, what became of them.

pub mod bundle;
pub mod preference;
pub mod readers;
pub mod schedule;
pub mod store;
pub mod sweep;
mod told;
