//! Keys that need attention: findings about keys, and what people decided about them.

pub mod advice;
pub mod facts;
pub mod findings;
pub mod reminder;
pub mod rules;
pub mod scan;
pub mod snooze;
pub mod store;
