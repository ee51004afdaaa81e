//! The audit log: one append-only list of entries per organisation.
//!
//! An entry is written in the transaction of the change it tells of: no entry, no commit.
//! Its text is stored as first written. People are named by id, so that erasing a person
//! keeps the log whole; no entry ever holds a secret.

pub mod about;
pub mod adopt;
pub mod checkpoint;
pub mod entry;
pub mod event;
pub mod export;
pub mod head;
pub mod list;
pub mod log;
pub mod recovery;
pub mod register;
pub mod sentence;
pub mod signing;
pub mod store;
pub mod tree;
pub mod upkeep;
pub mod verify;
