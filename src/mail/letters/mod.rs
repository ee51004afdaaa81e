//! What each mail is about: plain data, and the words that its templates ask for.

mod invitation;
mod keys;
mod limits;
mod test;

pub use invitation::Invitation;
pub use keys::{
    Digest, Impact, KeyCreated, KeyExpired, KeyExpiredStillUsed, KeyExpiring, KeyFacts, KeyRevoked,
    KeyRotated, Why,
};
pub use limits::{LimitDecision, LimitRequest};
mod account;

pub use account::{Change, EmailVerification, PasswordReset, SecurityNotice};
pub use test::Test;
