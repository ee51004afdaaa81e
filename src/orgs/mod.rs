//! Organisations, their members and their key policy.

pub mod account_log;
pub mod calendar;
pub mod checkpoint_mail;
pub mod invitation;
pub mod membership;
pub mod policy;
pub mod principal;
pub mod rename;
pub mod service;
pub mod setup;
mod slug;
pub mod store;
