//! The JSON API under `/v1`.

pub mod audit;
pub mod authorize;
pub mod introspect;
pub mod key_list;
pub mod keys;
mod minted;
pub mod object;
pub mod openapi;
pub mod rotation;
pub mod usage;
pub mod verify;
