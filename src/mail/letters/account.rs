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
    /// A change of the address was requested; the address before it is told.
    EmailChangeRequested {
        /// The new address.
        email: String,
        /// The link that cancels the change; its token is made when the mail is sent.
        cancel: LinkId,
        /// Until when the change can be confirmed.
        ends_at: Time,
    },
    /// A requested change of the address was cancelled.
    EmailChangeCancelled,
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
            Change::EmailChangeRequested { .. } => "Someone asked to change your e-mail address".to_owned(),
            Change::EmailChangeCancelled => "The change of your e-mail address was cancelled".to_owned(),
            Change::EmailChanged => "Your e-mail address was changed".to_owned(),
            Change::MethodConnected(name) => format!("{name} was connected to your account"),
            Change::MethodRemoved(name) => format!("{name} was removed from your account"),
        }
    }

    /// The new address and the link that cancels the change, where one was requested.
    pub fn requested(&self) -> Option<(String, String, &Time)> {
        match &self.what {
            Change::EmailChangeRequested { email, cancel, ends_at } => {
                Some((crate::email::shown(email), cancel.to_string(), ends_at))
            }
            _ => None,
        }
    }

    /// What to do when someone else did it, after "If this was not you,". In lines for the text part.
    pub fn remedy(&self) -> &'static str {
        match &self.what {
            Change::EmailChangeRequested { .. } => {
                "cancel the change now.\nThen change your password and end your other sessions: someone may be signed in as you."
            }
            Change::EmailChangeCancelled => {
                "someone may be signed in as you or read your e-mail.\nChange your password and end your other sessions."
            }
            Change::EmailChanged => {
                "ask the people who run Keydesk to restore your account,\nand an admin of your organisation to disable your membership until then."
            }
            _ => {
                "choose a new password at once and look at your sessions and sign-in methods.\nIf you can’t sign in any more, tell an admin of your organisation."
            }
        }
    }

    /// Whether the reader can still open the account.
    pub fn has_account(&self) -> bool {
        !matches!(self.what, Change::EmailChanged)
    }

    /// What else follows from it.
    pub fn consequence(&self) -> &'static str {
        match &self.what {
            Change::PasswordChanged | Change::PasswordReset | Change::PasswordReplaced => {
                "Your other sessions have ended. Pending links and calendar addresses no longer work."
            }
            Change::EmailChangeRequested { .. } => {
                "It takes effect when someone confirms it from the new address. Until then, nothing changes."
            }
            Change::EmailChangeCancelled => "Your account keeps this address.",
            Change::EmailChanged => {
                "E-mail for your account now goes to the new address, and you sign in with that one. This address no longer works."
            }
            Change::MethodConnected(_) => "You can sign in with it from now on.",
            Change::MethodRemoved(_) => "You can't sign in with it any more.",
        }
    }
}
