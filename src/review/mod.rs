//! What should not stay as it is: findings about keys, and what was decided about them.

pub mod advice;
pub mod facts;
pub mod keep;
pub mod look;
pub mod reminder;
pub mod rules;
pub mod store;
