//! The content of each e-mail: plain data, and the text for its templates.

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
pub use limits::{LimitDecision, LimitRequest, Requester};
pub use review::{Finding as ReviewFinding, ReviewReminder};
pub use summary::{Summarized, Summary};
pub use test::Test;
