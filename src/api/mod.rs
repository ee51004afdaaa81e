//! The JSON API under `/v1`.

pub mod audit;
pub mod authorize;
mod created_secret;
pub mod introspect;
pub mod key_list;
pub mod keys;
pub mod object;
pub mod openapi;
pub mod rotation;
pub mod usage;
pub mod verify;
