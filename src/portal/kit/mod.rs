//! Parts that several sections share.

pub mod chart;
pub mod date_field;
pub mod disable;
pub mod format;
pub mod fragments;
pub mod ical;
pub mod list_query;
pub mod models;
pub mod visit;
