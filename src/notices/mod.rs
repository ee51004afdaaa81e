//! Warnings before a key ends: when they are due.

pub mod schedule;
