//! A mail that invites someone to an organisation.

use serde::{Deserialize, Serialize};

use crate::mail::message::Letter;
use crate::time::Time;

/// An invitation. Its link's token is made when the mail is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invitation {
    /// The invitation's identifier.
    pub id: String,
    /// The organisation's name.
    pub org: String,
    /// The name of whoever invited.
    pub invited_by: String,
    /// The role, with its article: "a member".
    pub role: String,
    /// From when the invitation does not count any more.
    pub ends_at: Time,
}

impl Letter for Invitation {}

impl Invitation {
    pub(in crate::mail) fn title(&self) -> String {
        format!("Join {}", self.org)
    }
}
