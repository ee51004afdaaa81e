//! What each mail is about: plain data, and the words that its templates ask for.

mod account;
mod checkpoints;
mod ends;
mod invitation;
mod keys;
mod limits;
mod review;
mod summary;
mod test;

pub use account::{Change, EmailVerification, PasswordReset, SecurityNotice};
pub use checkpoints::{AuditCheckpoint, AuditConfirmation, Occasion};
pub use ends::{Digest, KeyExpired, KeyExpiredStillUsed, KeyExpiring};
pub use invitation::Invitation;
pub use keys::{Impact, KeyCreated, KeyFacts, KeyRevoked, KeyRotated, KeyWidened, Why, Widening};
pub use limits::{Asker, LimitDecision, LimitRequest};
pub use review::{Finding as ReviewFinding, ReviewReminder};
pub use summary::{Summarized, Summary};
pub use test::Test;
