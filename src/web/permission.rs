//! What each route needs: one table. The server refuses to start when a route has no line
//! here, or a line no route.

use crate::role::Act;
use crate::scope::Scope;
use crate::web::body::{MAX_BODY, MAX_INFERENCE_BODY};

/// What a route needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Nothing: anyone may call it, and credentials are not looked at.
    Public,
    /// A page that anyone may see, which knows who is signed in.
    Page,
    /// Someone signed in.
    SignedIn,
    /// A member of the organisation in the path whose role allows the act.
    Member(Act),
    /// The same, and who it is was proved in the last minutes.
    MemberFresh(Act),
    /// Someone signed in who proved in the last minutes who they are.
    SignedInFresh,
    /// A working API key with this scope.
    Key(Scope),
    /// Any working API key.
    AnyKey,
    /// An API key with `admin`, or the key that the path names.
    AdminOrSelf,
    /// Any working API key with the scopes that the query names; for forward authentication.
    Asked,
}

use Act::{
    DecideRequests, Leave, ReadKeys, ReadMail, ReadMembers, ReadReview, ReadSettings, ReadUsage, WriteKeys,
    WriteMail, WriteMembers, WriteReview, WriteSettings,
};
use Permission::{
    AdminOrSelf, AnyKey, Asked, Key, Member, MemberFresh, Page, Public, SignedIn, SignedInFresh,
};

impl Permission {
    /// Whether who it is must have been proved in the last minutes.
    pub fn is_fresh(self) -> bool {
        matches!(self, Permission::MemberFresh(_) | Permission::SignedInFresh)
    }

    /// The largest body in bytes that its routes read, if they read one.
    pub fn max_body(self) -> Option<usize> {
        match self {
            // Its request is about another one, whose body may come along.
            Permission::Asked => None,
            Permission::Key(Scope::InferenceWrite) => Some(MAX_INFERENCE_BODY),
            _ => Some(MAX_BODY),
        }
    }
}

/// Every route with what it needs.
pub const TABLE: &[(&str, &str, Permission)] = &[
    ("GET", "/healthz", Public),
    ("GET", "/readyz", Public),
    ("GET", "/assets/{file}", Public),
    ("GET", "/favicon.ico", Public),
    ("GET", "/robots.txt", Public),
    // The API.
    ("GET", "/v1/api-keys", Key(Scope::Admin)),
    ("POST", "/v1/api-keys", Key(Scope::Admin)),
    ("GET", "/v1/api-keys/self", AnyKey),
    ("GET", "/v1/api-keys/{id}", Key(Scope::Admin)),
    ("PATCH", "/v1/api-keys/{id}", Key(Scope::Admin)),
    ("DELETE", "/v1/api-keys/{id}", AdminOrSelf),
    ("POST", "/v1/api-keys/{id}/revoke", AdminOrSelf),
    ("POST", "/v1/api-keys/{id}/rotate", AdminOrSelf),
    ("POST", "/v1/api-keys/{id}/rotation", Key(Scope::Admin)),
    ("DELETE", "/v1/api-keys/{id}/rotation", Key(Scope::Admin)),
    ("POST", "/v1/api-keys/verify", Key(Scope::KeysVerify)),
    ("POST", "/v1/introspect", Key(Scope::KeysVerify)),
    ("ANY", "/v1/authorize", Asked),
    ("ANY", "/v1/authorize/{rest:.*}", Asked),
    ("GET", "/v1/models", Key(Scope::InferenceRead)),
    ("GET", "/v1/inference", Key(Scope::InferenceRead)),
    ("POST", "/v1/inference", Key(Scope::InferenceWrite)),
    ("POST", "/v1/chat/completions", Key(Scope::InferenceWrite)),
    ("POST", "/v1/completions", Key(Scope::InferenceWrite)),
    ("POST", "/v1/embeddings", Key(Scope::InferenceWrite)),
    ("POST", "/v1/responses", Key(Scope::InferenceWrite)),
    ("GET", "/v1/usage", Key(Scope::AnalyticsRead)),
    ("GET", "/v1/audit-events", Key(Scope::Admin)),
    ("GET", "/v1/audit/checkpoint", Key(Scope::Admin)),
    ("GET", "/v1/audit/proof", Key(Scope::Admin)),
    ("GET", "/v1/openapi.json", Public),
    // The portal.
    ("GET", "/", Page),
    ("GET", "/setup", Page),
    ("POST", "/setup", Page),
    ("GET", "/sign-in", Page),
    ("POST", "/sign-in", Page),
    ("GET", "/sign-in/oidc", Page),
    ("GET", "/sign-in/oidc/callback", Page),
    ("GET", "/sign-in/github", Page),
    ("GET", "/sign-in/github/callback", Page),
    ("GET", "/sign-in/again/{provider}", SignedIn),
    ("GET", "/account/email", SignedInFresh),
    ("POST", "/account/email", SignedInFresh),
    ("POST", "/account/email/verify", SignedIn),
    ("POST", "/account/email/cancel", SignedIn),
    ("GET", "/account/password", SignedIn),
    ("POST", "/account/password", SignedIn),
    ("POST", "/account/sessions/end-others", SignedInFresh),
    ("POST", "/account/sessions/{id}/end", SignedInFresh),
    ("GET", "/account/methods/{id}/disconnect", SignedInFresh),
    ("POST", "/account/methods/{id}/disconnect", SignedInFresh),
    ("GET", "/account/connect/{provider}", SignedInFresh),
    ("GET", "/sign-in/again", SignedIn),
    ("POST", "/sign-in/again", SignedIn),
    ("GET", "/reset-password", Page),
    ("POST", "/reset-password", Page),
    ("GET", "/verify-email", Page),
    ("POST", "/verify-email", Page),
    ("GET", "/cancel-email-change", Page),
    ("POST", "/cancel-email-change", Page),
    ("GET", "/checkpoints", Page),
    ("POST", "/checkpoints", Page),
    ("POST", "/sign-out", Page),
    ("GET", "/docs", Page),
    ("GET", "/docs/keys", Page),
    ("GET", "/docs/security", Page),
    ("GET", "/docs/developers", Page),
    ("GET", "/docs/proxies", Page),
    ("GET", "/docs/audit", Page),
    ("GET", "/docs/api", Page),
    ("GET", "/account", SignedIn),
    ("POST", "/account", SignedIn),
    ("GET", "/calendar/{token}.ics", Public),
    ("GET", "/keys/{id}.ics", SignedIn),
    ("GET", "/invitations/{token}", Page),
    ("POST", "/invitations/{token}", Page),
    ("POST", "/invitations/{token}/accept", Page),
    ("GET", "/keys/{id}", SignedIn),
    ("GET", "/keys/{id}/rotate", SignedIn),
    ("GET", "/o/{org}", Member(ReadKeys)),
    ("GET", "/o/{org}/keys/{id}/refusals", Member(ReadKeys)),
    ("GET", "/o/{org}/refusals", Member(ReadKeys)),
    ("GET", "/o/{org}/audit", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/audit/proof", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/audit/export.csv", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/audit/export.jsonl", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/audit/log.jsonl", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/audit/{index}", Member(Act::ReadAudit)),
    ("GET", "/o/{org}/keys", Member(ReadKeys)),
    ("POST", "/o/{org}/keys", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/new", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}", Member(ReadKeys)),
    ("GET", "/o/{org}/keys/{id}/first-use", Member(ReadKeys)),
    ("GET", "/o/{org}/keys/{id}/usage", Member(ReadUsage)),
    ("GET", "/o/{org}/keys/{id}/edit", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/edit", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/disable", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/disable", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/enable", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/enable", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/rotate", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/rotate", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/rotation", Member(ReadKeys)),
    ("GET", "/o/{org}/keys/{id}/rotation/end", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/rotation/end", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/rotation/move", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/rotation/move", Member(WriteKeys)),
    ("GET", "/o/{org}/calendar", Member(ReadKeys)),
    ("POST", "/o/{org}/calendar", Member(ReadKeys)),
    ("POST", "/o/{org}/calendar/end", Member(ReadKeys)),
    ("GET", "/o/{org}/keys/{id}/owner", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/owner", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/revoke", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/revoke", Member(WriteKeys)),
    ("GET", "/account/notices", SignedIn),
    ("POST", "/account/notices", SignedIn),
    ("GET", "/unsubscribe/{token}", Page),
    ("POST", "/unsubscribe/{token}", Page),
    ("POST", "/o/{org}/keys/{id}/seen", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/limit", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/limit", Member(WriteKeys)),
    ("POST", "/o/{org}/keys/{id}/limit/withdraw", Member(WriteKeys)),
    ("GET", "/o/{org}/keys/{id}/limit/decision", Member(DecideRequests)),
    ("POST", "/o/{org}/keys/{id}/limit/decision", Member(DecideRequests)),
    ("GET", "/o/{org}/mail", Member(ReadMail)),
    ("POST", "/o/{org}/mail/test", Member(WriteMail)),
    ("POST", "/o/{org}/mail/{id}/send", Member(WriteMail)),
    ("GET", "/o/{org}/usage", Member(ReadUsage)),
    ("GET", "/o/{org}/usage.csv", Member(ReadUsage)),
    ("GET", "/o/{org}/members", Member(ReadMembers)),
    ("POST", "/o/{org}/members", Member(WriteMembers)),
    ("GET", "/o/{org}/members/roles", Member(ReadMembers)),
    ("GET", "/o/{org}/members/{id}", Member(ReadMembers)),
    ("POST", "/o/{org}/members/{id}/role", MemberFresh(WriteMembers)),
    ("GET", "/o/{org}/members/{id}/disable", MemberFresh(WriteMembers)),
    ("POST", "/o/{org}/members/{id}/disable", MemberFresh(WriteMembers)),
    ("GET", "/o/{org}/members/{id}/enable", MemberFresh(WriteMembers)),
    ("POST", "/o/{org}/members/{id}/enable", MemberFresh(WriteMembers)),
    ("GET", "/o/{org}/members/{id}/remove", MemberFresh(WriteMembers)),
    ("POST", "/o/{org}/members/{id}/remove", MemberFresh(WriteMembers)),
    ("POST", "/o/{org}/invitations/{id}/send", Member(WriteMembers)),
    ("POST", "/o/{org}/invitations/{id}/withdraw", Member(WriteMembers)),
    ("GET", "/o/{org}/service-accounts/new", Member(WriteMembers)),
    ("POST", "/o/{org}/service-accounts", Member(WriteMembers)),
    ("GET", "/o/{org}/service-accounts/{id}/edit", Member(WriteMembers)),
    ("POST", "/o/{org}/service-accounts/{id}/edit", Member(WriteMembers)),
    ("GET", "/o/{org}/leave", MemberFresh(Leave)),
    ("POST", "/o/{org}/leave", MemberFresh(Leave)),
    ("GET", "/o/{org}/settings", Member(ReadSettings)),
    ("POST", "/o/{org}/settings", Member(WriteSettings)),
    ("GET", "/o/{org}/settings/policy", Member(ReadSettings)),
    ("POST", "/o/{org}/settings/policy", Member(WriteSettings)),
    ("GET", "/o/{org}/settings/requests", Member(DecideRequests)),
    ("GET", "/o/{org}/settings/checkpoints", Member(Act::ReadAudit)),
    ("POST", "/o/{org}/settings/checkpoints", MemberFresh(WriteSettings)),
    ("POST", "/o/{org}/settings/checkpoints/end", MemberFresh(WriteSettings)),
    ("GET", "/o/{org}/review", Member(ReadReview)),
    ("GET", "/o/{org}/review.csv", Member(ReadReview)),
    ("GET", "/o/{org}/review/print", Member(ReadReview)),
    ("POST", "/o/{org}/review/keep", Member(WriteReview)),
    ("POST", "/o/{org}/review/reopen", Member(WriteReview)),
    ("POST", "/o/{org}/review/remove-scope", Member(WriteReview)),
    ("POST", "/o/{org}/review/restore-scope", Member(WriteReview)),
];

/// What the route needs, if the table has a line for it.
pub fn of(method: &str, path: &str) -> Option<Permission> {
    TABLE
        .iter()
        .find(|(name, pattern, _)| *name == method && *pattern == path)
        .map(|(_, _, permission)| *permission)
}
