//! Parts that several sections share.

pub mod chart;
pub mod disable;
pub mod ical;
pub mod words;
