//! Every route: its method, its path, its handler, what it requires, and how the API's document
//! describes it.
//!
//! A route without a permission, a path of [`crate::path`] without a route, and an API route without
//! a description do not compile. The file is long because the table has one line per route.

use std::sync::LazyLock;

use actix_web::{Route as Handler, guard, web as actix};

use crate::api::openapi::{self, Call, Document, Operation, operations};
use crate::gateway::{inference, openai};
use crate::path::Pattern;
use crate::portal::members;
use crate::role::Act::{
    DecideRequests, Leave, ReadAudit, ReadKeys, ReadMail, ReadMembers, ReadReview, ReadSettings, ReadUsage,
    WriteKeys, WriteMail, WriteMembers, WriteReview, WriteSettings,
};
use crate::scope::Scope::{Admin, AnalyticsRead, InferenceRead, InferenceWrite, KeysVerify};
use crate::web::endpoint::{Endpoint, Method};
use crate::web::permission::Permission::{
    AdminOrSelf, AnyKey, Key, Member, MemberFresh, Page, Public, ScopesInQuery, SignedIn, SignedInFresh,
};
use crate::web::{assets, health};
use crate::{api, portal};

/// A line of the table.
pub struct Route {
    pub endpoint: Endpoint,
    /// What the document of the API says about it.
    pub(super) operation: Option<fn() -> Operation>,
    pub(super) handler: fn() -> Handler,
}

macro_rules! routes {
    ($($method:ident $path:ident => $handler:path, $permission:expr $(, $operation:path)?;)*) => {
        pub const ROUTES: &[Route] = &[$(Route {
            endpoint: Endpoint {
                method: Method::$method,
                path: Pattern::$path,
                permission: $permission,
            },
            operation: operation!($($operation)?),
            handler: || on(Method::$method).to($handler),
        }),*];

        /// Where the compiler reports a missing pattern, add a route for that path.
        const fn every_path_has_a_route(path: Pattern) -> bool {
            #[allow(unreachable_patterns, reason = "a path can have several methods")]
            match path {
                $(Pattern::$path => true),*
            }
        }
    };
}

macro_rules! operation {
    () => {
        None
    };
    ($operation:path) => {
        Some($operation)
    };
}

// Paths are tried in this order, so a literal comes before the parameter that would match it.
routes! {
    // Health and files.
    GET    healthz                     => health::alive, Public;
    GET    readyz                      => health::ready, Public;
    GET    asset                       => assets::serve, Public;
    GET    favicon                     => assets::favicon, Public;
    GET    robots                      => assets::robots, Public;

    // The API.
    POST   v1_api_keys                 => api::keys::create, Key(Admin), operations::create_key;
    GET    v1_api_keys                 => api::key_list::list, Key(Admin), operations::list_keys;
    GET    v1_api_key_self             => api::keys::show_self, AnyKey, operations::show_own_key;
    GET    v1_api_key                  => api::keys::show, Key(Admin), operations::show_key;
    PATCH  v1_api_key                  => api::keys::patch, Key(Admin), operations::change_key;
    POST   v1_api_key_revoke           => api::keys::revoke, AdminOrSelf, operations::revoke_key;
    DELETE v1_api_key                  => api::keys::delete, AdminOrSelf, operations::delete_key;
    POST   v1_api_key_rotate           => api::rotation::rotate, AdminOrSelf, operations::rotate_key;
    POST   v1_api_key_rotation         => api::rotation::move_end, Key(Admin), operations::move_rotation;
    DELETE v1_api_key_rotation         => api::rotation::end, Key(Admin), operations::end_rotation;
    POST   v1_api_key_verify           => api::verify::verify, Key(KeysVerify), operations::verify_key;
    POST   v1_introspect               => api::introspect::introspect, Key(KeysVerify), operations::introspect;
    ANY    v1_authorize                => api::authorize::authorize, ScopesInQuery, operations::authorize;
    ANY    v1_authorize_rest           => api::authorize::authorize, ScopesInQuery, operations::authorize_rest;
    GET    v1_models                   => inference::models, Key(InferenceRead), operations::list_models;
    GET    v1_model                    => inference::model, Key(InferenceRead), operations::show_model;
    GET    v1_inference                => inference::models, Key(InferenceRead), operations::list_models;
    POST   v1_inference                => inference::infer, Key(InferenceWrite), operations::infer;
    POST   v1_chat_completions         => openai::chat, Key(InferenceWrite), operations::chat;
    POST   v1_completions              => openai::completions, Key(InferenceWrite), operations::complete;
    POST   v1_embeddings               => openai::embeddings, Key(InferenceWrite), operations::embed;
    POST   v1_responses                => openai::responses, Key(InferenceWrite), operations::respond;
    GET    v1_usage                    => api::usage::usage, Key(AnalyticsRead), operations::usage;
    GET    v1_audit_events             => api::audit::events, Key(Admin), operations::audit_events;
    GET    v1_audit_checkpoint         => api::audit::checkpoint, Key(Admin), operations::audit_checkpoint;
    GET    v1_audit_proof              => api::audit::proof, Key(Admin), operations::audit_proof;
    GET    v1_openapi                  => openapi::serve, Public, operations::openapi;

    // Entrance.
    GET    home                        => portal::home, Page;
    GET    setup                       => portal::entrance::setup::form, Page;
    POST   setup                       => portal::entrance::setup::submit, Page;
    GET    sign_in                     => portal::entrance::sign_in::form, Page;
    POST   sign_in                     => portal::entrance::sign_in::submit, Page;
    GET    sign_in_oidc                => portal::entrance::provider::start_oidc, Page;
    GET    sign_in_oidc_callback       => portal::entrance::provider::arrival::finish_oidc, Page;
    GET    sign_in_oidc_numbered       => portal::entrance::provider::start_numbered, Page;
    GET    sign_in_oidc_numbered_callback => portal::entrance::provider::arrival::finish_numbered, Page;
    GET    sign_in_github              => portal::entrance::provider::start_github, Page;
    GET    sign_in_github_callback     => portal::entrance::provider::arrival::finish_github, Page;
    GET    sign_in_again_with          => portal::entrance::provider::prove, SignedIn;
    GET    sign_in_again               => portal::entrance::again::form, SignedIn;
    POST   sign_in_again               => portal::entrance::again::submit, SignedIn;
    GET    reset_password              => portal::entrance::reset_password::form, Page;
    POST   reset_password              => portal::entrance::reset_password::submit, Page;
    GET    verify_email                => portal::entrance::verify_email::form, Page;
    POST   verify_email                => portal::entrance::verify_email::submit, Page;
    GET    cancel_email_change         => portal::entrance::cancel_email::form, Page;
    POST   cancel_email_change         => portal::entrance::cancel_email::submit, Page;
    POST   sign_out                    => portal::entrance::sign_in::sign_out, Page;
    GET    invitation                  => portal::entrance::invitation::show, Page;
    POST   invitation                  => portal::entrance::invitation::sign_up, Page;
    POST   invitation_accept           => portal::entrance::invitation::accept, Page;

    // The account.
    GET    account_email               => portal::account::email::form, SignedInFresh;
    POST   account_email               => portal::account::email::submit, SignedInFresh;
    POST   account_email_verify        => portal::account::email::verify, SignedIn;
    POST   account_email_cancel        => portal::account::email::cancel, SignedIn;
    GET    account_password            => portal::account::password::form, SignedIn;
    POST   account_password            => portal::account::password::submit, SignedIn;
    POST   account_sessions_end_others => portal::account::sessions::end_others, SignedInFresh;
    POST   account_session_end         => portal::account::sessions::end, SignedInFresh;
    GET    account_method_disconnect   => portal::account::methods::confirm, SignedInFresh;
    POST   account_method_disconnect   => portal::account::methods::disconnect, SignedInFresh;
    GET    account_connect             => portal::entrance::provider::connect, SignedInFresh;
    GET    account                     => portal::account::show, SignedIn;
    POST   account                     => portal::account::save, SignedIn;
    GET    account_notices             => portal::account::notices::form, SignedIn;
    POST   account_notices             => portal::account::notices::save, SignedIn;

    // The guides.
    GET    docs                        => portal::docs::index, Page;
    GET    docs_keys                   => portal::docs::keys, Page;
    GET    docs_security               => portal::docs::security, Page;
    GET    docs_developers             => portal::docs::developers, Page;
    GET    docs_proxies                => portal::docs::proxies, Page;
    GET    docs_audit                  => portal::docs::audit, Page;
    GET    docs_api                    => portal::docs::api::show, Page;

    // Links in e-mails and calendars.
    GET    checkpoints                 => portal::entrance::checkpoints::form, Page;
    POST   checkpoints                 => portal::entrance::checkpoints::submit, Page;
    GET    calendar_feed               => portal::keys::calendar::feed, Public;
    GET    key_calendar                => portal::keys::calendar::of_key, SignedIn;
    GET    key_link                    => portal::keys::show::deep_link, SignedIn;
    GET    key_rotate_link             => portal::keys::show::deep_rotate_link, SignedIn;
    GET    unsubscribe                 => portal::account::notices::unsubscribe_form, Page;
    POST   unsubscribe                 => portal::account::notices::unsubscribe, Page;

    // Keys of an organisation.
    GET    organization                => portal::organization, Member(ReadKeys);
    GET    key_refusals                => portal::keys::refusals::of_key, Member(ReadKeys);
    GET    refusals                    => portal::keys::refusals::of_org, Member(ReadKeys);
    GET    keys                        => portal::keys::list::show, Member(ReadKeys);
    POST   keys                        => portal::keys::create::submit, Member(WriteKeys);
    GET    new_key                     => portal::keys::create::form, Member(WriteKeys);
    GET    key                         => portal::keys::show::show, Member(ReadKeys);
    GET    key_first_use               => portal::keys::reveal::first_use, Member(ReadKeys);
    GET    key_usage                   => portal::usage::key::show, Member(ReadUsage);
    GET    key_edit                    => portal::keys::edit::form, Member(WriteKeys);
    POST   key_edit                    => portal::keys::edit::submit, Member(WriteKeys);
    GET    key_disable                 => portal::keys::disable::confirm, Member(WriteKeys);
    POST   key_disable                 => portal::keys::disable::submit, Member(WriteKeys);
    GET    key_enable                  => portal::keys::disable::confirm, Member(WriteKeys);
    POST   key_enable                  => portal::keys::disable::submit, Member(WriteKeys);
    GET    key_rotate                  => portal::keys::rotation::rotate::form, Member(WriteKeys);
    POST   key_rotate                  => portal::keys::rotation::rotate::submit, Member(WriteKeys);
    GET    key_rotation                => portal::keys::rotation::progress::refresh, Member(ReadKeys);
    GET    key_rotation_end            => portal::keys::rotation::overlap::confirm_end, Member(WriteKeys);
    POST   key_rotation_end            => portal::keys::rotation::overlap::end, Member(WriteKeys);
    GET    key_rotation_move           => portal::keys::rotation::overlap::move_form, Member(WriteKeys);
    POST   key_rotation_move           => portal::keys::rotation::overlap::move_end, Member(WriteKeys);
    GET    calendar                    => portal::keys::calendar::show, Member(ReadKeys);
    POST   calendar                    => portal::keys::calendar::make, Member(ReadKeys);
    POST   calendar_end                => portal::keys::calendar::end, Member(ReadKeys);
    GET    key_owner                   => portal::keys::owner::form, Member(WriteKeys);
    POST   key_owner                   => portal::keys::owner::submit, Member(WriteKeys);
    GET    key_revoke                  => portal::keys::revoke::confirm, Member(WriteKeys);
    POST   key_revoke                  => portal::keys::revoke::submit, Member(WriteKeys);
    POST   key_seen                    => portal::keys::notices::seen, Member(WriteKeys);
    GET    key_limit                   => portal::keys::limits::request::form, Member(WriteKeys);
    POST   key_limit                   => portal::keys::limits::request::submit, Member(WriteKeys);
    POST   key_limit_withdraw          => portal::keys::limits::request::withdraw, Member(WriteKeys);
    GET    key_limit_decision          => portal::keys::limits::decision::form, Member(DecideRequests);
    POST   key_limit_decision          => portal::keys::limits::decision::submit, Member(DecideRequests);

    // Usage.
    GET    usage                       => portal::usage::overview::show, Member(ReadUsage);
    GET    usage_csv                   => portal::usage::export::show, Member(ReadUsage);

    // Review.
    GET    review                      => portal::review::page::show, Member(ReadReview);
    GET    review_csv                  => portal::review::export::show, Member(ReadReview);
    GET    review_print                => portal::review::print::show, Member(ReadReview);
    POST   review_snooze               => portal::review::act::keep, Member(WriteReview);
    POST   review_reopen               => portal::review::act::reopen, Member(WriteReview);
    POST   review_remove_scope         => portal::review::act::remove_scope, Member(WriteReview);
    POST   review_restore_scope        => portal::review::act::restore_scope, Member(WriteReview);

    // Audit log.
    GET    audit                       => portal::audit::show, Member(ReadAudit);
    GET    audit_proof                 => portal::audit::proof::show, Member(ReadAudit);
    GET    audit_export_csv            => portal::audit::export::as_csv, Member(ReadAudit);
    GET    audit_export_jsonl          => portal::audit::export::as_json_lines, Member(ReadAudit);
    GET    audit_log_jsonl             => portal::audit::export::whole, Member(ReadAudit);
    GET    audit_entry                 => portal::audit::entry::show, Member(ReadAudit);

    // Members.
    GET    members                     => members::list::show, Member(ReadMembers);
    POST   members                     => members::list::invite, Member(WriteMembers);
    GET    roles                       => members::roles::show, Member(ReadMembers);
    GET    member                      => members::show::show, Member(ReadMembers);
    POST   member_role                 => members::show::set_role, MemberFresh(WriteMembers);
    GET    member_disable              => members::disable::confirm, MemberFresh(WriteMembers);
    POST   member_disable              => members::disable::submit, MemberFresh(WriteMembers);
    GET    member_enable               => members::disable::confirm, MemberFresh(WriteMembers);
    POST   member_enable               => members::disable::submit, MemberFresh(WriteMembers);
    GET    member_remove               => members::remove::confirm, MemberFresh(WriteMembers);
    POST   member_remove               => members::remove::submit, MemberFresh(WriteMembers);
    POST   invitation_send             => members::list::send_again, Member(WriteMembers);
    POST   invitation_withdraw         => members::list::withdraw, Member(WriteMembers);
    GET    new_service_account         => members::service::form, Member(WriteMembers);
    POST   service_accounts            => members::service::create, Member(WriteMembers);
    GET    service_account_edit        => members::service::edit_form, Member(WriteMembers);
    POST   service_account_edit        => members::service::edit, Member(WriteMembers);
    GET    leave                       => members::remove::confirm_leaving, MemberFresh(Leave);
    POST   leave                       => members::remove::leave, MemberFresh(Leave);

    // Settings.
    GET    mail                        => portal::mail_log::show, Member(ReadMail);
    POST   mail_test                   => portal::mail_log::test, Member(WriteMail);
    POST   mail_send                   => portal::mail_log::send_again, Member(WriteMail);
    GET    settings                    => portal::settings::organization::show, Member(ReadSettings);
    POST   settings                    => portal::settings::organization::save, Member(WriteSettings);
    GET    settings_policy             => portal::settings::policy::show, Member(ReadSettings);
    POST   settings_policy             => portal::settings::policy::submit, Member(WriteSettings);
    GET    settings_models             => portal::settings::models::show, Member(ReadSettings);
    GET    settings_requests           => portal::settings::requests::show, Member(DecideRequests);
    GET    settings_checkpoints        => portal::settings::checkpoints::show, Member(ReadAudit);
    POST   settings_checkpoints        => portal::settings::checkpoints::ask, MemberFresh(WriteSettings);
    POST   settings_checkpoints_end    => portal::settings::checkpoints::end, MemberFresh(WriteSettings);
}

/// A handler for a method. GET also answers HEAD (RFC 9110 section 9.3.2).
fn on(method: Method) -> Handler {
    match method {
        Method::GET => actix::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        Method::POST => actix::post(),
        Method::PATCH => actix::patch(),
        Method::DELETE => actix::delete(),
        Method::ANY => actix::route(),
    }
}

/// The document of the API, built when it is first requested.
pub(super) fn document() -> LazyLock<Document> {
    LazyLock::new(|| {
        let calls = ROUTES.iter().filter_map(|route| {
            route.operation.map(|operation| Call { endpoint: route.endpoint, operation: operation() })
        });
        Document::new(calls.collect())
    })
}

const _: () = {
    let mut place = 0;
    while place < ROUTES.len() {
        let Route { endpoint, operation, .. } = &ROUTES[place];
        assert!(every_path_has_a_route(endpoint.path));
        assert!(endpoint.path.is_api() == operation.is_some(), "describe all API routes, and no others");
        let mut other = 0;
        while other < place {
            assert!(!endpoint.is_like(&ROUTES[other].endpoint), "this method and path have two routes");
            other += 1;
        }
        place += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_of_the_api_defines_the_schemas_it_names() {
        let document = document();
        let schemas = &document.json["components"]["schemas"];
        let text = document.json.to_string();
        for name in text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(schemas[name].is_object(), "{name}");
        }
        for body in ["CreateBody", "PatchBody", "RevokeBody", "RotateBody", "VerifyBody", "InferenceBody"] {
            assert_eq!(schemas[body]["additionalProperties"], false, "{body}");
        }
    }

    #[test]
    fn changes_require_more_than_reading() {
        for Endpoint { method, path, permission } in ROUTES.iter().map(|route| route.endpoint) {
            let reads = matches!(permission, Member(ReadKeys) | Public);
            // A member's own calendar address shows no more than they may read.
            let is_own = matches!(path, Pattern::calendar | Pattern::calendar_end);
            assert!(method == Method::GET || !reads || is_own, "{method} {path:?}");
        }
    }
}
