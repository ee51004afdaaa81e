//! What each mail is about: plain data, and the words that its templates ask for.

mod test;

pub use test::Test;
