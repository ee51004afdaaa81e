//! The events of the audit log. The enum stays in one file however long it grows: readers of the log look
//! for the list, and the compiler demands a description of each.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{InvitationId, UserId};
use crate::scope::Scopes;
use crate::time::Time;

/// An event, with the values before and after where they matter.
///
/// Every variant has a description in [`crate::audit::description`] and is parsed back from the text of
/// its entry: a member that is added later is an `Option` or has `#[serde(default)]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "details")]
pub enum Event {
    #[serde(rename = "organization.created")]
    OrganizationCreated { name: String, owner: UserId },
    #[serde(rename = "key.created")]
    KeyCreated {
        name: String,
        scopes: Scopes,
        owner: UserId,
        /// `None` if the key never expires.
        expires_at: Option<Time>,
        /// The first digits of the secret's SHA-256.
        sha256_prefix: String,
    },
    #[serde(rename = "key.updated")]
    KeyUpdated { changes: Vec<Change> },
    #[serde(rename = "key.disabled")]
    KeyDisabled,
    #[serde(rename = "key.enabled")]
    KeyEnabled,
    #[serde(rename = "key.rotated")]
    KeyRotated {
        /// The end of the overlap.
        old_ends_at: Time,
        /// The first digits of the old secret's SHA-256.
        old_sha256_prefix: String,
        /// The first digits of the new secret's SHA-256.
        sha256_prefix: String,
        /// The key's new expiry; `None` if it never expires.
        expires_at: Option<Time>,
    },
    /// The end of a rotation's overlap was moved.
    #[serde(rename = "key.rotation_moved")]
    RotationMoved { before: Time, after: Time },
    /// The overlap of a rotation was ended early.
    #[serde(rename = "key.rotation_ended")]
    RotationEnded {
        /// When the overlap would have ended.
        before: Time,
    },
    #[serde(rename = "key.revoked")]
    KeyRevoked { reason: Option<String> },
    /// Someone was invited. Only the invitation itself holds the address.
    #[serde(rename = "invitation.created")]
    InvitationCreated { role: String },
    #[serde(rename = "invitation.sent_again")]
    InvitationSentAgain,
    #[serde(rename = "invitation.withdrawn")]
    InvitationWithdrawn,
    /// A person accepted an invitation and became a member.
    #[serde(rename = "member.joined")]
    MemberJoined { role: String, invitation: InvitationId },
    #[serde(rename = "member.role_changed")]
    MemberRoleChanged { before: String, after: String },
    /// A member was disabled in this organisation.
    #[serde(rename = "member.disabled")]
    MemberDisabled,
    #[serde(rename = "member.enabled")]
    MemberEnabled,
    /// A member was removed or left.
    #[serde(rename = "member.removed")]
    MemberRemoved { role: String },
    #[serde(rename = "service_account.created")]
    ServiceAccountCreated {
        name: String,
        /// The people who receive the account's e-mails.
        answerers: Vec<UserId>,
    },
    #[serde(rename = "service_account.updated")]
    ServiceAccountUpdated { changes: Vec<Change> },
    /// A person was disabled in all organisations.
    #[serde(rename = "person.disabled")]
    PersonDisabled,
    #[serde(rename = "person.enabled")]
    PersonEnabled,
    /// Someone acknowledged a notice that a key expires.
    #[serde(rename = "notice.seen")]
    NoticeSeen { ends_at: Time },
    /// An admin sent a test e-mail to themselves.
    #[serde(rename = "mail.tested")]
    MailTested,
    #[serde(rename = "mail.sent_again")]
    MailSentAgain,
    /// A member created a calendar address.
    #[serde(rename = "calendar.created")]
    CalendarCreated,
    #[serde(rename = "calendar.revoked")]
    CalendarRevoked,
    #[serde(rename = "key.limit_requested")]
    LimitRequested { requests_per_minute: u32, reason: String },
    #[serde(rename = "key.limit_request_approved")]
    LimitRequestApproved {
        /// Requests per minute before.
        before: u32,
        /// Requests per minute from now on.
        after: u32,
        /// The requested number.
        asked: u32,
        /// The message to the member.
        words: Option<String>,
    },
    #[serde(rename = "key.limit_request_refused")]
    LimitRequestDeclined {
        /// The requested number of requests per minute.
        asked: u32,
        /// The reason.
        words: String,
    },
    #[serde(rename = "key.limit_request_withdrawn")]
    LimitRequestWithdrawn {
        /// The requested number of requests per minute.
        asked: u32,
    },
    #[serde(rename = "policy.updated")]
    PolicyUpdated {
        changes: Vec<Change>,
        /// When the change applies to existing keys; `None` if it takes nothing away from them.
        existing_keys_from: Option<Time>,
    },
    /// An external address was asked to confirm that it receives checkpoints. The log doesn't hold the
    /// address, which may belong to a person.
    #[serde(rename = "audit.address_asked")]
    CheckpointsRequested,
    /// The external address was confirmed.
    #[serde(rename = "audit.address_confirmed")]
    CheckpointsConfirmed,
    /// Checkpoints are no longer e-mailed.
    #[serde(rename = "audit.address_ended")]
    CheckpointsEnded,
    /// An operator recovered a broken log.
    #[serde(rename = "audit.recovered")]
    LogRecovered {
        /// The first bad entry, from 0.
        index: u64,
        /// What was wrong with it.
        why: String,
        /// The new name of the log, if it has one.
        name: Option<String>,
    },
    /// Stands for an entry that was missing when the log was recovered.
    #[serde(rename = "audit.entry_lost")]
    EntryLost,
    #[serde(rename = "organization.updated")]
    OrganizationUpdated { changes: Vec<Change> },
    /// A finding of the review was snoozed.
    #[serde(rename = "review.kept")]
    FindingSnoozed {
        /// The kind of finding.
        finding: String,
        /// The scope that the finding is about, if any.
        scope: Option<String>,
        /// When the finding is shown again.
        until: Time,
    },
    /// The snooze of a finding was ended.
    #[serde(rename = "review.reopened")]
    FindingReopened {
        /// The kind of finding.
        finding: String,
        /// The scope that the finding is about, if any.
        scope: Option<String>,
    },
    #[serde(rename = "person.signed_in")]
    SignedIn,
    #[serde(rename = "person.signed_out")]
    SignedOut,
    /// A person's password was reset.
    #[serde(rename = "person.password_reset")]
    PasswordReset,
    /// A person added a provider as a sign-in method.
    #[serde(rename = "person.method_connected")]
    MethodConnected {
        /// The kind of provider.
        method: String,
    },
    #[serde(rename = "person.method_removed")]
    MethodRemoved {
        /// `password`, or the kind of provider.
        method: String,
    },
    #[serde(rename = "person.password_changed")]
    PasswordChanged,
    /// A person requested a change of their e-mail address, which is pending until they confirm it. The
    /// log doesn't hold the address.
    #[serde(rename = "person.email_change_requested")]
    EmailChangeRequested,
    #[serde(rename = "person.email_change_cancelled")]
    EmailChangeCancelled,
    /// A person changed their e-mail address, which the log doesn't hold.
    #[serde(rename = "person.email_changed")]
    EmailChanged,
    #[serde(rename = "person.email_verified")]
    EmailVerified,
    /// A person ended some of their sessions.
    #[serde(rename = "person.sessions_ended")]
    SessionsEnded { count: usize },
    /// A person changed their profile.
    #[serde(rename = "person.updated")]
    PersonUpdated { changes: Vec<Change> },
}

/// A changed setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The setting's name in the API.
    pub field: Cow<'static, str>,
    pub before: serde_json::Value,
    pub after: serde_json::Value,
}

impl Change {
    /// The change of a setting, or `None` if its value stays the same.
    pub fn between(
        field: &'static str,
        before: serde_json::Value,
        after: serde_json::Value,
    ) -> Option<Change> {
        (before != after).then(|| Change { field: field.into(), before, after })
    }
}
