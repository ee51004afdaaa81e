//! The path of every route, as a pattern for the router and as a function for links.
//!
//! Templates, redirects, e-mails and calendars call these functions, so a link to a path that does
//! not exist does not compile. `app::routes` must mount every path that is listed here, and can
//! mount no other.

mod href;
#[cfg(test)]
mod tests;

use crate::id::{InvitationId, KeyId, MailId, MethodId, OrgSlug, SessionId, UserId};
use crate::path::href::Segment;

pub use crate::path::href::Href;

macro_rules! paths {
    ($($name:ident $parameters:tt => $pattern:literal;)*) => {
        /// A path of the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(non_camel_case_types, reason = "each has the name of its function")]
        pub enum Pattern {
            $(#[doc = concat!("`", $pattern, "`")] $name),*
        }

        impl Pattern {
            pub const ALL: &[Pattern] = &[$(Pattern::$name),*];

            /// The pattern as the router reads it: `/o/{org}/keys`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Pattern::$name => $pattern),*
                }
            }
        }

        $(path! { $name $parameters => $pattern })*
    };
}

/// The function for one path. The compiler checks that it takes the parameters of the pattern.
macro_rules! path {
    // Nothing links to the path: clients complete it, or `build.rs` writes it.
    ($name:ident (..) => $pattern:literal) => {};
    ($name:ident ($($parameter:ident: $type:ty),*) => $pattern:literal) => {
        #[doc = concat!("`", $pattern, "`")]
        pub fn $name($($parameter: &$type),*) -> Href {
            Href::new(format!($pattern, $($parameter = Segment($parameter)),*))
        }
    };
}

paths! {
    // Health and files.
    healthz() => "/healthz";
    readyz() => "/readyz";
    asset(..) => "/assets/{file}";
    favicon() => "/favicon.ico";
    robots() => "/robots.txt";

    // The API.
    v1_api_keys() => "/v1/api-keys";
    v1_api_key_self() => "/v1/api-keys/self";
    v1_api_key_verify() => "/v1/api-keys/verify";
    v1_api_key(id: KeyId) => "/v1/api-keys/{id}";
    v1_api_key_revoke(id: KeyId) => "/v1/api-keys/{id}/revoke";
    v1_api_key_rotate(id: KeyId) => "/v1/api-keys/{id}/rotate";
    v1_api_key_rotation(id: KeyId) => "/v1/api-keys/{id}/rotation";
    v1_introspect() => "/v1/introspect";
    v1_authorize() => "/v1/authorize";
    v1_authorize_rest(..) => "/v1/authorize/{rest:.*}";
    v1_models() => "/v1/models";
    v1_model(..) => "/v1/models/{model:.*}";
    v1_inference() => "/v1/inference";
    v1_chat_completions() => "/v1/chat/completions";
    v1_completions() => "/v1/completions";
    v1_embeddings() => "/v1/embeddings";
    v1_responses() => "/v1/responses";
    v1_usage() => "/v1/usage";
    v1_audit_events() => "/v1/audit-events";
    v1_audit_checkpoint() => "/v1/audit/checkpoint";
    v1_audit_proof() => "/v1/audit/proof";
    v1_openapi() => "/v1/openapi.json";

    // Entrance.
    home() => "/";
    setup() => "/setup";
    sign_in() => "/sign-in";
    sign_in_oidc() => "/sign-in/oidc";
    sign_in_oidc_callback() => "/sign-in/oidc/callback";
    sign_in_oidc_numbered(number: u8) => "/sign-in/oidc/{number}";
    sign_in_oidc_numbered_callback(number: u8) => "/sign-in/oidc/{number}/callback";
    sign_in_github() => "/sign-in/github";
    sign_in_github_callback() => "/sign-in/github/callback";
    sign_in_again_with(provider: str) => "/sign-in/again/{provider}";
    sign_in_again() => "/sign-in/again";
    reset_password() => "/reset-password";
    verify_email() => "/verify-email";
    cancel_email_change() => "/cancel-email-change";
    sign_out() => "/sign-out";
    invitation(token: str) => "/invitations/{token}";
    invitation_accept(token: str) => "/invitations/{token}/accept";

    // The account.
    account_email() => "/account/email";
    account_email_verify() => "/account/email/verify";
    account_email_cancel() => "/account/email/cancel";
    account_password() => "/account/password";
    account_sessions_end_others() => "/account/sessions/end-others";
    account_session_end(id: SessionId) => "/account/sessions/{id}/end";
    account_method_disconnect(id: MethodId) => "/account/methods/{id}/disconnect";
    account_connect(provider: str) => "/account/connect/{provider}";
    account() => "/account";
    account_notices() => "/account/notices";

    // The guides.
    docs() => "/docs";
    docs_keys() => "/docs/keys";
    docs_security() => "/docs/security";
    docs_developers() => "/docs/developers";
    docs_proxies() => "/docs/proxies";
    docs_audit() => "/docs/audit";
    docs_api() => "/docs/api";

    // Links in e-mails and calendars.
    checkpoints() => "/checkpoints";
    calendar_feed(token: str) => "/calendar/{token}.ics";
    key_calendar(id: KeyId) => "/keys/{id}.ics";
    key_link(id: KeyId) => "/keys/{id}";
    key_rotate_link(id: KeyId) => "/keys/{id}/rotate";
    unsubscribe(token: str) => "/unsubscribe/{token}";

    // Keys of an organisation.
    organization(org: OrgSlug) => "/o/{org}";
    key_refusals(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/refusals";
    refusals(org: OrgSlug) => "/o/{org}/refusals";
    keys(org: OrgSlug) => "/o/{org}/keys";
    new_key(org: OrgSlug) => "/o/{org}/keys/new";
    key(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}";
    key_first_use(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/first-use";
    key_usage(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/usage";
    key_edit(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/edit";
    key_disable(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/disable";
    key_enable(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/enable";
    key_rotate(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/rotate";
    key_rotation(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/rotation";
    key_rotation_end(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/rotation/end";
    key_rotation_move(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/rotation/move";
    calendar(org: OrgSlug) => "/o/{org}/calendar";
    calendar_end(org: OrgSlug) => "/o/{org}/calendar/end";
    key_owner(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/owner";
    key_revoke(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/revoke";
    key_seen(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/seen";
    key_limit(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/limit";
    key_limit_withdraw(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/limit/withdraw";
    key_limit_decision(org: OrgSlug, id: KeyId) => "/o/{org}/keys/{id}/limit/decision";

    // Usage.
    usage(org: OrgSlug) => "/o/{org}/usage";
    usage_csv(org: OrgSlug) => "/o/{org}/usage.csv";

    // Review.
    review(org: OrgSlug) => "/o/{org}/review";
    review_csv(org: OrgSlug) => "/o/{org}/review.csv";
    review_print(org: OrgSlug) => "/o/{org}/review/print";
    review_snooze(org: OrgSlug) => "/o/{org}/review/keep";
    review_reopen(org: OrgSlug) => "/o/{org}/review/reopen";
    review_remove_scope(org: OrgSlug) => "/o/{org}/review/remove-scope";
    review_restore_scope(org: OrgSlug) => "/o/{org}/review/restore-scope";

    // Audit log.
    audit(org: OrgSlug) => "/o/{org}/audit";
    audit_proof(org: OrgSlug) => "/o/{org}/audit/proof";
    audit_export_csv(org: OrgSlug) => "/o/{org}/audit/export.csv";
    audit_export_jsonl(org: OrgSlug) => "/o/{org}/audit/export.jsonl";
    audit_log_jsonl(org: OrgSlug) => "/o/{org}/audit/log.jsonl";
    audit_entry(org: OrgSlug, index: i64) => "/o/{org}/audit/{index}";

    // Members.
    members(org: OrgSlug) => "/o/{org}/members";
    roles(org: OrgSlug) => "/o/{org}/members/roles";
    member(org: OrgSlug, id: UserId) => "/o/{org}/members/{id}";
    member_role(org: OrgSlug, id: UserId) => "/o/{org}/members/{id}/role";
    member_disable(org: OrgSlug, id: UserId) => "/o/{org}/members/{id}/disable";
    member_enable(org: OrgSlug, id: UserId) => "/o/{org}/members/{id}/enable";
    member_remove(org: OrgSlug, id: UserId) => "/o/{org}/members/{id}/remove";
    invitation_send(org: OrgSlug, id: InvitationId) => "/o/{org}/invitations/{id}/send";
    invitation_withdraw(org: OrgSlug, id: InvitationId) => "/o/{org}/invitations/{id}/withdraw";
    new_service_account(org: OrgSlug) => "/o/{org}/service-accounts/new";
    service_accounts(org: OrgSlug) => "/o/{org}/service-accounts";
    service_account_edit(org: OrgSlug, id: UserId) => "/o/{org}/service-accounts/{id}/edit";
    leave(org: OrgSlug) => "/o/{org}/leave";

    // Settings.
    mail(org: OrgSlug) => "/o/{org}/mail";
    mail_test(org: OrgSlug) => "/o/{org}/mail/test";
    mail_send(org: OrgSlug, id: MailId) => "/o/{org}/mail/{id}/send";
    settings(org: OrgSlug) => "/o/{org}/settings";
    settings_policy(org: OrgSlug) => "/o/{org}/settings/policy";
    settings_models(org: OrgSlug) => "/o/{org}/settings/models";
    settings_requests(org: OrgSlug) => "/o/{org}/settings/requests";
    settings_checkpoints(org: OrgSlug) => "/o/{org}/settings/checkpoints";
    settings_checkpoints_end(org: OrgSlug) => "/o/{org}/settings/checkpoints/end";
}

impl Pattern {
    /// The literal text before the first parameter.
    pub fn prefix(self) -> &'static str {
        self.as_str().split('{').next().unwrap_or_default()
    }

    pub const fn is_api(self) -> bool {
        is_api(self.as_str())
    }
}

/// The path below which the API lies.
pub const API: &str = "/v1";

/// Whether a path belongs to the API.
pub const fn is_api(path: &str) -> bool {
    matches!(path.as_bytes(), [b'/', b'v', b'1', b'/', ..])
}
