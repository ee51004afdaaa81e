//! The JSON API under `/v1`.

pub mod keys;
pub mod object;
