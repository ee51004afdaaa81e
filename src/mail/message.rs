//! All e-mails: their events, content and templates.

use askama::Template;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::mail::context::MailContext;
use crate::mail::{
    AuditCheckpoint, AuditConfirmation, Digest, Invitation, KeyCreated, KeyExpired, KeyExpiredStillUsed,
    KeyExpiring, KeyRevoked, KeyRotated, KeyWidened, LimitDecision, LimitRequest, ReviewReminder, Summary,
    Test,
};
use crate::mail::{EmailVerification, PasswordReset, SecurityNotice};
use crate::path;

/// The content of an e-mail.
pub trait MailContent {
    /// The key that it is about, if it is about exactly one.
    fn key(&self) -> Option<KeyId> {
        None
    }

    /// Whether it is an early notice, from which a recipient can unsubscribe with one click.
    fn is_early(&self) -> bool {
        false
    }

    /// The name and text of a file to attach.
    fn file(&self) -> Option<(String, String)> {
        None
    }
}

/// A rendered e-mail.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// Generates [`Message`] from one line per e-mail: its content, event and templates.
macro_rules! mails {
    ($($content:ident $event:tt $subject:tt $text:tt $html:tt;)*) => {
        /// An e-mail in the outbox.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(tag = "event", content = "letter")]
        pub enum Message {
            $(#[serde(rename = $event)] $content($content),)*
        }

        $(impl From<$content> for Message {
            fn from(content: $content) -> Message {
                Message::$content(content)
            }
        })*

        impl Message {
            /// The event, as stored.
            fn tag(&self) -> &'static str {
                match self {
                    $(Message::$content(_) => $event,)*
                }
            }

            fn content(&self) -> &dyn MailContent {
                match self {
                    $(Message::$content(content) => content,)*
                }
            }

            /// The subject without the organisation's name.
            pub fn headline(&self, context: &MailContext) -> askama::Result<String> {
                match self {
                    $(Message::$content(content) => {
                        #[derive(Template)]
                        #[template(path = $subject)]
                        #[allow(dead_code, reason = "not every template uses every field")]
                        struct Subject<'a> { content: &'a $content, context: &'a MailContext }

                        Subject { content, context }.render()
                    })*
                }
            }

            /// Renders the e-mail for its recipient.
            pub fn render(&self, context: &MailContext) -> Result<Rendered> {
                let subject = context.subject(&self.headline(context).map_err(Error::internal)?);
                match self {
                    $(Message::$content(content) => {
                        #[derive(Template)]
                        #[template(path = $text)]
                        #[allow(dead_code, reason = "not every template uses every field")]
                        struct Text<'a> { content: &'a $content, context: &'a MailContext }

                        #[derive(Template)]
                        #[template(path = $html)]
                        #[allow(dead_code, reason = "not every template uses every field")]
                        struct Html<'a> { content: &'a $content, context: &'a MailContext, subject: &'a str }

                        let text = Text { content, context }.render().map_err(Error::internal)?;
                        let html = Html { content, context, subject: &subject }.render().map_err(Error::internal)?;
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
            // A change of what a key may do concerns its security.
            Message::KeyWidened(_) => "security_notice",
            Message::Summary(_) => "digest",
            other => other.tag(),
        }
    }

    /// The key that it is about, if it is about exactly one.
    pub fn key(&self) -> Option<KeyId> {
        self.content().key()
    }

    /// Whether it is an early notice, from which a recipient can unsubscribe with one click.
    pub fn is_early(&self) -> bool {
        self.content().is_early()
    }

    /// The name and text of a file to attach.
    pub fn file(&self) -> Option<(String, String)> {
        self.content().file()
    }
}
