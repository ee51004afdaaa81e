//! Mails about a person's own account.

use serde::{Deserialize, Serialize};

use crate::id::LinkId;
use crate::mail::message::Letter;
use crate::time::Time;

/// A link by which a new password is chosen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PasswordReset {
    /// The link; its token is made when the mail is sent.
    pub link: LinkId,
    /// Until when it counts.
    pub ends_at: Time,
}

impl Letter for PasswordReset {}

/// A link by which someone proves that an address is theirs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EmailVerification {
    /// The link; its token is made when the mail is sent.
    pub link: LinkId,
    /// The address.
    pub email: String,
    /// Until when it counts.
    pub ends_at: Time,
}

impl Letter for EmailVerification {}

/// Something changed by which an account is guarded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityNotice {
    /// What.
    pub what: Change,
    /// When.
    pub at: Time,
    /// From which address, where that is known.
    pub address: Option<String>,
    /// On which device, where that is known.
    pub device: Option<String>,
}

impl Letter for SecurityNotice {}

/// What changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Its person changed the password.
    PasswordChanged,
    /// The password was replaced by a link in a mail.
    PasswordReset,
    /// Whoever runs the server replaced the password.
    PasswordReplaced,
    /// The address was changed; the one before is told too.
    EmailChanged,
    /// A way to sign in was added.
    MethodConnected(String),
    /// A way to sign in was given up.
    MethodRemoved(String),
}

impl SecurityNotice {
    /// What changed, as a sentence without its full stop.
    pub fn headline(&self) -> String {
        match &self.what {
            Change::PasswordChanged => "Your password was changed".to_owned(),
            Change::PasswordReset => "Your password was replaced by a link in a mail".to_owned(),
            Change::PasswordReplaced => "Whoever runs Keydesk replaced your password".to_owned(),
            Change::EmailChanged => "Your e-mail address was changed".to_owned(),
            Change::MethodConnected(name) => format!("{name} was connected to your account"),
            Change::MethodRemoved(name) => format!("{name} was removed from your account"),
        }
    }

    /// What else follows from it.
    pub fn consequence(&self) -> &'static str {
        match &self.what {
            Change::PasswordChanged | Change::PasswordReset | Change::PasswordReplaced => {
                "Other sessions of yours have ended."
            }
            Change::EmailChanged => "Mails go to the new address from now on.",
            Change::MethodConnected(_) => "You can sign in with it from now on.",
            Change::MethodRemoved(_) => "You can't sign in with it any more.",
        }
    }
}
