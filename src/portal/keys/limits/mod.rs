//! The limits of a key: the organisation's policy, and requests for a higher limit.

pub mod decision;
pub mod panel;
pub mod request;
