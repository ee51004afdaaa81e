//! The JSON API under `/v1`.

pub mod key_list;
pub mod keys;
pub mod object;
