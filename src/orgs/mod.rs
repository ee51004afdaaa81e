//! Organisations, their members, what a role may do and what keys may be.

pub mod calendar;
pub mod checkpoint_mail;
pub mod invitation;
pub mod journal;
pub mod membership;
pub mod policy;
pub mod principal;
pub mod rename;
pub mod service;
pub mod setup;
mod slug;
pub mod store;
