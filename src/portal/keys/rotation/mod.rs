//! The pages about a key's rotation.

pub mod overlap;
pub mod progress;
pub mod rotate;
