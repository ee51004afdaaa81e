//! The gateway: inference calls on their way to the upstream.

pub mod inference;
pub mod upstream;
