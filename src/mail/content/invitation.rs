//! The e-mail that invites someone to an organisation.

use serde::{Deserialize, Serialize};

use crate::mail::message::MailContent;
use crate::time::Time;

/// An invitation. The token of its link is computed when the e-mail is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    pub id: String,
    /// The organisation's name.
    pub org: String,
    /// The inviter's name.
    pub invited_by: String,
    /// The role, with its article: "a member".
    pub role: String,
    pub ends_at: Time,
}

impl MailContent for Invitation {}

impl Invitation {
    pub(in crate::mail) fn title(&self) -> String {
        format!("Join {}", self.org)
    }
}
