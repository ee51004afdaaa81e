//! The audit log: one append-only list of entries per organisation.
//!
//! An entry is written in the transaction of the change that it records: no entry, no commit.
//! Its text is stored as first written. It names people by id, so erasing a person keeps the log intact,
//! and it never holds a secret.

pub mod checkpoint;
pub mod description;
pub mod entry;
pub mod event;
pub mod export;
pub mod head;
pub mod list;
pub mod log;
pub mod monitor;
pub mod recovery;
pub mod register;
pub mod sealing;
pub mod signing;
pub mod store;
pub mod tree;
pub mod verify;
