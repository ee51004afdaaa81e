//! E-mails about a person's own account.

use serde::{Deserialize, Serialize};

use crate::id::LinkId;
use crate::mail::message::MailContent;
use crate::time::Time;

/// A link to choose a new password.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PasswordReset {
    /// Its token is computed when the e-mail is sent.
    pub link: LinkId,
    pub ends_at: Time,
}

impl MailContent for PasswordReset {}

/// A link to confirm an e-mail address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EmailVerification {
    /// Its token is computed when the e-mail is sent.
    pub link: LinkId,
    pub email: String,
    pub ends_at: Time,
}

impl MailContent for EmailVerification {}

/// A notice of a change that affects an account's security.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityNotice {
    pub what: Change,
    pub at: Time,
    /// The client's address, if known.
    pub address: Option<String>,
    /// The client's device, if known.
    pub device: Option<String>,
}

impl MailContent for SecurityNotice {}

/// A change that affects an account's security.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The person changed the password.
    PasswordChanged,
    /// The password was reset through an e-mailed link.
    PasswordReset,
    /// An operator replaced the password on the command line.
    PasswordReplaced,
    /// A change of the address was requested; sent to the old address.
    EmailChangeRequested {
        /// The new address.
        email: String,
        /// The link that cancels the change; its token is computed when the e-mail is sent.
        cancel: LinkId,
        /// Until when the change can be confirmed.
        ends_at: Time,
    },
    EmailChangeCancelled,
    /// The address was changed; sent to the old address.
    EmailChanged,
    /// A sign-in method of this name was added.
    MethodConnected(String),
    /// A sign-in method of this name was removed.
    MethodRemoved(String),
}

impl SecurityNotice {
    /// The change as a sentence without its full stop.
    pub fn headline(&self) -> String {
        match &self.what {
            Change::PasswordChanged => "Your password was changed".to_owned(),
            Change::PasswordReset => "Your password was reset through an e-mailed link".to_owned(),
            Change::PasswordReplaced => "An operator of Keydesk replaced your password".to_owned(),
            Change::EmailChangeRequested { .. } => {
                "Someone requested a change of your e-mail address".to_owned()
            }
            Change::EmailChangeCancelled => "The change of your e-mail address was cancelled".to_owned(),
            Change::EmailChanged => "Your e-mail address was changed".to_owned(),
            Change::MethodConnected(name) => format!("{name} was added to your sign-in methods"),
            Change::MethodRemoved(name) => format!("{name} was removed from your sign-in methods"),
        }
    }

    /// The new address, the link that cancels the change, and until when it is pending, if one was requested.
    pub fn requested(&self) -> Option<(String, String, &Time)> {
        match &self.what {
            Change::EmailChangeRequested { email, cancel, ends_at } => {
                Some((crate::email::shown(email), cancel.to_string(), ends_at))
            }
            _ => None,
        }
    }

    /// What to do if someone else did it, to follow "If this was not you,". Has line breaks for the text part.
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
                "choose a new password at once and check your sessions and sign-in methods.\nIf you can’t sign in any more, tell an admin of your organisation."
            }
        }
    }

    /// Whether the recipient can still open the account.
    pub fn has_account(&self) -> bool {
        !matches!(self.what, Change::EmailChanged)
    }

    /// The consequence of the change.
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
            Change::MethodConnected(_) => "You can now use it to sign in.",
            Change::MethodRemoved(_) => "You can no longer use it to sign in.",
        }
    }
}
