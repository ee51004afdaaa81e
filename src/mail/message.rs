//! Every mail there is, by its event, with what it is about and how it reads.

use askama::Template;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::mail::sheet::Sheet;
use crate::mail::{
    AuditCheckpoint, AuditConfirmation, Digest, Invitation, KeyCreated, KeyExpired, KeyExpiredStillUsed,
    KeyExpiring, KeyRevoked, KeyRotated, KeyWidened, LimitDecision, LimitRequest, ReviewReminder, Summary,
    Test,
};
use crate::mail::{EmailVerification, PasswordReset, SecurityNotice};
use crate::path;

/// What a mail is about.
pub trait Letter {
    /// The one key that it is about.
    fn key(&self) -> Option<KeyId> {
        None
    }

    /// Whether it is one of the early notices, which a reader can end by one click.
    fn is_early(&self) -> bool {
        false
    }

    /// A file that comes with it, to be kept: its name and its text.
    fn file(&self) -> Option<(String, String)> {
        None
    }
}

/// A mail as its reader gets it.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    /// For readers without HTML, and first.
    pub text: String,
    /// The same in HTML.
    pub html: String,
}

/// Makes [`Message`] out of one line for each mail: its letter, its event, its templates.
macro_rules! mails {
    ($($letter:ident $event:tt $subject:tt $text:tt $html:tt;)*) => {
        /// A mail in the queue.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(tag = "event", content = "letter")]
        pub enum Message {
            $(#[serde(rename = $event)] $letter($letter),)*
        }

        $(impl From<$letter> for Message {
            fn from(letter: $letter) -> Message {
                Message::$letter(letter)
            }
        })*

        impl Message {
            /// The name of its letter.
            fn tag(&self) -> &'static str {
                match self {
                    $(Message::$letter(_) => $event,)*
                }
            }

            fn letter(&self) -> &dyn Letter {
                match self {
                    $(Message::$letter(letter) => letter,)*
                }
            }

            /// What it says in one line, without the organisation's name.
            pub fn headline(&self, sheet: &Sheet) -> askama::Result<String> {
                match self {
                    $(Message::$letter(letter) => {
                        #[derive(Template)]
                        #[template(path = $subject)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Subject<'a> { letter: &'a $letter, sheet: &'a Sheet }

                        Subject { letter, sheet }.render()
                    })*
                }
            }

            /// Writes it for its reader.
            pub fn render(&self, sheet: &Sheet) -> Result<Rendered> {
                let subject = sheet.subject(&self.headline(sheet).map_err(Error::internal)?);
                match self {
                    $(Message::$letter(letter) => {
                        #[derive(Template)]
                        #[template(path = $text)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Text<'a> { letter: &'a $letter, sheet: &'a Sheet }

                        #[derive(Template)]
                        #[template(path = $html)]
                        #[allow(dead_code, reason = "a template need not ask for everything")]
                        struct Html<'a> { letter: &'a $letter, sheet: &'a Sheet, subject: &'a str }

                        let text = Text { letter, sheet }.render().map_err(Error::internal)?;
                        let html = Html { letter, sheet, subject: &subject }.render().map_err(Error::internal)?;
                        Ok(Rendered { subject, text, html })
                    })*
                }
            }
        }
    };
}

mails! {
    KeyCreated "key_created" "mail/key_created/subject.txt" "mail/key_created/body.txt" "mail/key_created/body.html";
    KeyExpiring "key_expiring" "mail/key_expiring/subject.txt" "mail/key_expiring/body.txt" "mail/key_expiring/body.html";
    KeyExpired "key_expired" "mail/key_expired/subject.txt" "mail/key_expired/body.txt" "mail/key_expired/body.html";
    KeyExpiredStillUsed "key_expired_still_used" "mail/key_expired_still_used/subject.txt" "mail/key_expired_still_used/body.txt" "mail/key_expired_still_used/body.html";
    KeyRotated "key_rotated" "mail/key_rotated/subject.txt" "mail/key_rotated/body.txt" "mail/key_rotated/body.html";
    KeyWidened "key_widened" "mail/key_widened/subject.txt" "mail/key_widened/body.txt" "mail/key_widened/body.html";
    KeyRevoked "key_revoked" "mail/key_revoked/subject.txt" "mail/key_revoked/body.txt" "mail/key_revoked/body.html";
    Digest "digest" "mail/digest/subject.txt" "mail/digest/body.txt" "mail/digest/body.html";
    Summary "summary" "mail/summary/subject.txt" "mail/summary/body.txt" "mail/summary/body.html";
    Invitation "invitation" "mail/invitation/subject.txt" "mail/invitation/body.txt" "mail/invitation/body.html";
    LimitRequest "limit_request" "mail/limit_request/subject.txt" "mail/limit_request/body.txt" "mail/limit_request/body.html";
    LimitDecision "limit_decision" "mail/limit_decision/subject.txt" "mail/limit_decision/body.txt" "mail/limit_decision/body.html";
    EmailVerification "email_verification" "mail/email_verification/subject.txt" "mail/email_verification/body.txt" "mail/email_verification/body.html";
    PasswordReset "password_reset" "mail/password_reset/subject.txt" "mail/password_reset/body.txt" "mail/password_reset/body.html";
    SecurityNotice "security_notice" "mail/security_notice/subject.txt" "mail/security_notice/body.txt" "mail/security_notice/body.html";
    ReviewReminder "review_reminder" "mail/review_reminder/subject.txt" "mail/review_reminder/body.txt" "mail/review_reminder/body.html";
    AuditConfirmation "audit_confirmation" "mail/audit_confirmation/subject.txt" "mail/audit_confirmation/body.txt" "mail/audit_confirmation/body.html";
    AuditCheckpoint "audit_checkpoint" "mail/audit_checkpoint/subject.txt" "mail/audit_checkpoint/body.txt" "mail/audit_checkpoint/body.html";
    Test "test" "mail/test/subject.txt" "mail/test/body.txt" "mail/test/body.html";
}

impl Message {
    /// The name in `X-Keydesk-Event`.
    pub fn event(&self) -> &'static str {
        match self {
            // What a key may do from now on is a matter of its security.
            Message::KeyWidened(_) => "security_notice",
            Message::Summary(_) => "digest",
            other => other.tag(),
        }
    }

    /// The one key that it is about.
    pub fn key(&self) -> Option<KeyId> {
        self.letter().key()
    }

    /// Whether it is one of the early notices, which a reader can end by one click.
    pub fn is_early(&self) -> bool {
        self.letter().is_early()
    }

    /// A file that comes with it, to be kept: its name and its text.
    pub fn file(&self) -> Option<(String, String)> {
        self.letter().file()
    }
}
