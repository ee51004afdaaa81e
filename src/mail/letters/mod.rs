//! What each mail is about: plain data, and the words that its templates ask for.

mod keys;
mod test;

pub use keys::{
    Digest, Impact, KeyCreated, KeyExpired, KeyExpiredStillUsed, KeyExpiring, KeyFacts, KeyRevoked,
    KeyRotated, Why,
};
mod invitation;
mod test;

pub use invitation::Invitation;
pub use test::Test;
