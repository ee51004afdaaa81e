//! What an entry can tell. The list of events stays whole, however long it grows: it is what readers of
//! the log look for, and one enum makes a sentence for each of them a duty.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{InvitationId, UserId};
use crate::scope::Scopes;
use crate::time::Time;

/// Something that happened, with what was before and after where that matters.
///
/// Every variant has its sentence in [`crate::audit::sentence`], and is read back from the text of
/// its entry: a member that is added later is an `Option` or has `#[serde(default)]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "action", content = "details")]
pub enum Event {
    /// The organisation was set up with its first owner.
    #[serde(rename = "organization.created")]
    OrganizationCreated {
        /// Its name.
        name: String,
        /// Its first owner.
        owner: UserId,
    },
    /// A key was made.
    #[serde(rename = "key.created")]
    KeyCreated {
        /// Its name.
        name: String,
        /// What it may do.
        scopes: Scopes,
        /// Who answers for it.
        owner: UserId,
        /// When it ends; never if `None`.
        expires_at: Option<Time>,
        /// The first digits of its SHA-256.
        sha256_prefix: String,
    },
    /// Settings of a key were changed.
    #[serde(rename = "key.updated")]
    KeyUpdated {
        /// Each changed setting.
        changes: Vec<Change>,
    },
    /// A key was disabled.
    #[serde(rename = "key.disabled")]
    KeyDisabled,
    /// A disabled key was enabled.
    #[serde(rename = "key.enabled")]
    KeyEnabled,
    /// A key got another secret.
    #[serde(rename = "key.rotated")]
    KeyRotated {
        /// Until when the old secret works.
        old_ends_at: Time,
        /// The first digits of the old secret's SHA-256.
        old_sha256_prefix: String,
        /// The first digits of the new secret's SHA-256.
        sha256_prefix: String,
        /// When the key ends from now on; never if `None`.
        expires_at: Option<Time>,
    },
    /// The old secret of a rotated key was given another end.
    #[serde(rename = "key.rotation_moved")]
    RotationMoved {
        /// Its end before.
        before: Time,
        /// Its end from now on.
        after: Time,
    },
    /// The old secret of a rotated key was ended before its time.
    #[serde(rename = "key.rotation_ended")]
    RotationEnded {
        /// When it would have ended.
        before: Time,
    },
    /// A key was revoked.
    #[serde(rename = "key.revoked")]
    KeyRevoked {
        /// Why, in the words of whoever did it.
        reason: Option<String>,
    },
    /// Someone was invited. Their address is in the invitation alone.
    #[serde(rename = "invitation.created")]
    InvitationCreated {
        /// The role that they are to have.
        role: String,
    },
    /// An invitation was sent again.
    #[serde(rename = "invitation.sent_again")]
    InvitationSentAgain,
    /// An invitation was withdrawn.
    #[serde(rename = "invitation.withdrawn")]
    InvitationWithdrawn,
    /// A person accepted an invitation and became a member.
    #[serde(rename = "member.joined")]
    MemberJoined {
        /// Their role.
        role: String,
        /// What they accepted.
        invitation: InvitationId,
    },
    /// A member got another role.
    #[serde(rename = "member.role_changed")]
    MemberRoleChanged {
        /// The role before.
        before: String,
        /// The role after.
        after: String,
    },
    /// A membership was set aside.
    #[serde(rename = "member.disabled")]
    MemberDisabled,
    /// A membership was taken up again.
    #[serde(rename = "member.enabled")]
    MemberEnabled,
    /// A member was removed, or left by themselves.
    #[serde(rename = "member.removed")]
    MemberRemoved {
        /// The role that they had.
        role: String,
    },
    /// A service account was made.
    #[serde(rename = "service_account.created")]
    ServiceAccountCreated {
        /// Its name.
        name: String,
        /// Who answers for it.
        answerers: Vec<UserId>,
    },
    /// A service account was changed.
    #[serde(rename = "service_account.updated")]
    ServiceAccountUpdated {
        /// Each changed setting.
        changes: Vec<Change>,
    },
    /// A person may not sign in any more.
    #[serde(rename = "person.disabled")]
    PersonDisabled,
    /// A person may sign in again.
    #[serde(rename = "person.enabled")]
    PersonEnabled,
    /// Someone said that they have seen that a key ends.
    #[serde(rename = "notice.seen")]
    NoticeSeen {
        /// When it ends.
        ends_at: Time,
    },
    /// An admin sent themselves a mail to see whether it arrives.
    #[serde(rename = "mail.tested")]
    MailTested,
    /// An admin sent a mail again.
    #[serde(rename = "mail.sent_again")]
    MailSentAgain,
    /// A member got an address at which a calendar reads when keys end.
    #[serde(rename = "calendar.created")]
    CalendarMade,
    /// A member's calendar address was revoked.
    #[serde(rename = "calendar.revoked")]
    CalendarEnded,
    /// A higher limit was asked for.
    #[serde(rename = "key.limit_requested")]
    LimitRequested {
        /// Requests a minute.
        requests_per_minute: u32,
        /// Why.
        reason: String,
    },
    /// A higher limit was granted.
    #[serde(rename = "key.limit_request_approved")]
    LimitRequestApproved {
        /// Requests a minute before.
        before: u32,
        /// Requests a minute from now on.
        after: u32,
        /// What was asked for.
        asked: u32,
        /// What was said with it.
        words: Option<String>,
    },
    /// A higher limit was refused.
    #[serde(rename = "key.limit_request_refused")]
    LimitRequestRefused {
        /// What was asked for.
        asked: u32,
        /// Why.
        words: String,
    },
    /// A request for a higher limit was taken back.
    #[serde(rename = "key.limit_request_withdrawn")]
    LimitRequestWithdrawn {
        /// What was asked for.
        asked: u32,
    },
    /// The organisation's policy for keys was changed.
    #[serde(rename = "policy.updated")]
    PolicyUpdated {
        /// Each changed rule.
        changes: Vec<Change>,
        /// From when keys that exist follow; `None` where nothing is taken from them.
        existing_keys_from: Option<Time>,
    },
    /// An address outside was asked whether checkpoints may be mailed there. It is not told: it may
    /// be a person's.
    #[serde(rename = "audit.address_asked")]
    CheckpointsAsked,
    /// Its reader agreed.
    #[serde(rename = "audit.address_confirmed")]
    CheckpointsConfirmed,
    /// No checkpoints are mailed any more.
    #[serde(rename = "audit.address_ended")]
    CheckpointsEnded,
    /// A broken log was recovered by an operator.
    #[serde(rename = "audit.recovered")]
    LogRecovered {
        /// The first bad entry, from 0.
        index: u64,
        /// What was wrong.
        why: String,
        /// The name under which the log goes on, where that is a new one.
        name: Option<String>,
    },
    /// The entry of this place was missing when the log was recovered.
    #[serde(rename = "audit.entry_lost")]
    EntryLost,
    /// Settings of the organisation were changed.
    #[serde(rename = "organization.updated")]
    OrganizationUpdated {
        /// Each changed setting.
        changes: Vec<Change>,
    },
    /// Someone looked at a finding of the review and keeps it for a while.
    #[serde(rename = "review.kept")]
    FindingKept {
        /// Of which kind.
        finding: String,
        /// About which scope, where it is about one.
        scope: Option<String>,
        /// Until when it is not shown.
        until: Time,
    },
    /// A kept finding is shown again.
    #[serde(rename = "review.reopened")]
    FindingReopened {
        /// Of which kind.
        finding: String,
        /// About which scope, where it is about one.
        scope: Option<String>,
    },
    /// A person signed in.
    #[serde(rename = "person.signed_in")]
    SignedIn,
    /// A person signed out.
    #[serde(rename = "person.signed_out")]
    SignedOut,
    /// A person's password was replaced.
    #[serde(rename = "person.password_reset")]
    PasswordReset,
    /// A person made who they are at a provider a way to sign in.
    #[serde(rename = "person.method_connected")]
    MethodConnected {
        /// The kind of provider.
        method: String,
    },
    /// A person gave up a way to sign in.
    #[serde(rename = "person.method_removed")]
    MethodRemoved {
        /// `password`, or the kind of provider.
        method: String,
    },
    /// A person changed their password.
    #[serde(rename = "person.password_changed")]
    PasswordChanged,
    /// A person requested a change of their address, which is pending until they confirm it. The address
    /// stays out of the log.
    #[serde(rename = "person.email_change_requested")]
    EmailChangeRequested,
    /// A pending change of a person's address was cancelled.
    #[serde(rename = "person.email_change_cancelled")]
    EmailChangeCancelled,
    /// A person changed their address. It is not told: a person is known by id.
    #[serde(rename = "person.email_changed")]
    EmailChanged,
    /// A person proved that their address is theirs.
    #[serde(rename = "person.email_verified")]
    EmailVerified,
    /// A person ended sessions of theirs.
    #[serde(rename = "person.sessions_ended")]
    SessionsEnded {
        /// How many.
        count: usize,
    },
    /// A person changed their profile.
    #[serde(rename = "person.updated")]
    PersonUpdated {
        /// Each changed setting.
        changes: Vec<Change>,
    },
}

/// A setting before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The setting, by its name in the API.
    pub field: Cow<'static, str>,
    /// Its value before.
    pub before: serde_json::Value,
    /// Its value after.
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
