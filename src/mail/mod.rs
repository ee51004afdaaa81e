//! E-mails: content, outbox and delivery.
//!
//! A change queues a typed message in its own transaction; it is rendered only when it is sent. Each
//! e-mail is delivered at least once: if a server doesn't answer after receiving one, no one can know
//! whether it accepted it (RFC 5321 section 4.1.1.4), so it gets the same e-mail again, with the same
//! `Message-ID`.

pub mod claim;
pub mod combine;
pub mod context;
pub mod delivery;
pub mod delivery_log;
pub mod mailer;
pub mod message;
pub mod outbox;
pub mod sender;

mod content;

pub use content::*;

use crate::id::{OrgId, UserId};

/// The recipient of an e-mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The organisation that the e-mail is about; `None` if it is only about the person.
    pub org: Option<OrgId>,
    /// `None` for someone without an account. Times are shown in the person's zone.
    pub person: Option<UserId>,
    /// May be empty.
    pub name: String,
    pub address: String,
}
