//! Mails: what they say, the queue they wait in, and how they leave.
//!
//! A change queues a typed message in its own transaction; it is rendered only when it is sent.
//! Each mail arrives at least once. Where a server falls silent after it was given a mail, nobody
//! can know whether it took it (RFC 5321 section 4.1.1.4): it gets the same mail again, under the
//! same `Message-ID`.

pub mod claim;
pub mod combine;
pub mod delivery;
pub mod letter;
pub mod message;
pub mod outbox;
pub mod sender;
pub mod sheet;
pub mod shown;

mod letters;

pub use letters::*;

use crate::id::{OrgId, UserId};

/// Who gets a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The organisation that the mail is about; `None` where it is about the person alone.
    pub org: Option<OrgId>,
    /// The person, unless they are yet to become known. Times are told in their zone.
    pub person: Option<UserId>,
    /// Their name, or nothing.
    pub name: String,
    /// Where mail reaches them.
    pub address: String,
}
