//! Every route on one screen. What each needs stands in [`crate::web::permission`].

use actix_web::{Route, guard, web as actix};

use crate::gateway::{inference, openai};
use crate::portal::members;
use crate::web::{assets, health};
use crate::{api, portal};

/// A method, or `ANY`, with its path and what makes its route.
pub(super) type Endpoint = (&'static str, &'static str, fn() -> Route);

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path),* $(,)?) => {
        vec![$((stringify!($method), $path, (|| answering(stringify!($method)).to($handler)) as fn() -> Route)),*]
    };
}

/// A route for a method, or for any. What answers GET answers HEAD too (RFC 9110 section 9.3.2).
fn answering(method: &str) -> Route {
    match (method, actix_web::http::Method::from_bytes(method.as_bytes())) {
        ("GET", _) => actix::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        ("ANY", _) | (_, Err(_)) => actix::route(),
        (_, Ok(method)) => actix::method(method),
    }
}

/// What is mounted, in this order: what is named comes before what `{id}` would take.
pub(super) fn routes() -> Vec<Endpoint> {
    routes![
        GET "/healthz" => health::alive,
        GET "/readyz" => health::ready,
        GET "/assets/{file}" => assets::serve,
        GET "/favicon.ico" => assets::favicon,
        GET "/robots.txt" => assets::robots,
        // The API.
        GET "/v1/api-keys" => api::key_list::list,
        POST "/v1/api-keys" => api::keys::create,
        GET "/v1/api-keys/self" => api::keys::show_self,
        POST "/v1/api-keys/verify" => api::verify::verify,
        GET "/v1/api-keys/{id}" => api::keys::show,
        PATCH "/v1/api-keys/{id}" => api::keys::patch,
        DELETE "/v1/api-keys/{id}" => api::keys::delete,
        POST "/v1/api-keys/{id}/revoke" => api::keys::revoke,
        POST "/v1/api-keys/{id}/rotate" => api::rotation::rotate,
        POST "/v1/api-keys/{id}/rotation" => api::rotation::move_end,
        DELETE "/v1/api-keys/{id}/rotation" => api::rotation::end,
        POST "/v1/introspect" => api::introspect::introspect,
        ANY "/v1/authorize" => api::authorize::authorize,
        ANY "/v1/authorize/{rest:.*}" => api::authorize::authorize,
        GET "/v1/models" => inference::models,
        GET "/v1/inference" => inference::models,
        POST "/v1/inference" => inference::infer,
        POST "/v1/chat/completions" => openai::chat,
        POST "/v1/completions" => openai::completions,
        POST "/v1/embeddings" => openai::embeddings,
        POST "/v1/responses" => openai::responses,
        GET "/v1/usage" => api::usage::usage,
        GET "/v1/openapi.json" => api::openapi::serve,
        // The portal.
        GET "/" => portal::home,
        GET "/setup" => portal::setup::form,
        POST "/setup" => portal::setup::submit,
        GET "/sign-in" => portal::sign_in::form,
        POST "/sign-in" => portal::sign_in::submit,
        GET "/sign-in/again" => portal::again::form,
        POST "/sign-in/again" => portal::again::submit,
        POST "/sign-out" => portal::sign_in::sign_out,
        GET "/docs" => portal::docs::index,
        GET "/docs/keys" => portal::docs::keys,
        GET "/docs/security" => portal::docs::security,
        GET "/docs/developers" => portal::docs::developers,
        GET "/docs/proxies" => portal::docs::proxies,
        GET "/docs/api" => portal::reference::show,
        GET "/account" => portal::account::show,
        POST "/account" => portal::account::save,
        GET "/calendar/{token}.ics" => portal::calendar::feed,
        GET "/keys/{id}.ics" => portal::calendar::of_key,
        GET "/invitations/{token}" => portal::invitation::show,
        POST "/invitations/{token}" => portal::invitation::sign_up,
        POST "/invitations/{token}/accept" => portal::invitation::accept,
        GET "/keys/{id}" => portal::keys::show::deep_link,
        GET "/keys/{id}/rotate" => portal::keys::show::deep_rotate_link,
        GET "/o/{org}" => portal::organization,
        GET "/o/{org}/keys" => portal::keys::list::show,
        POST "/o/{org}/keys" => portal::keys::create::submit,
        GET "/o/{org}/keys/new" => portal::keys::create::form,
        GET "/o/{org}/keys/{id}" => portal::keys::show::show,
        GET "/o/{org}/keys/{id}/first-use" => portal::keys::reveal::first_use,
        GET "/o/{org}/keys/{id}/usage" => portal::usage::key::show,
        GET "/o/{org}/keys/{id}/edit" => portal::keys::edit::form,
        POST "/o/{org}/keys/{id}/edit" => portal::keys::edit::submit,
        GET "/o/{org}/keys/{id}/disable" => portal::keys::disable::confirm_disable,
        POST "/o/{org}/keys/{id}/disable" => portal::keys::disable::disable,
        GET "/o/{org}/keys/{id}/enable" => portal::keys::disable::confirm_enable,
        POST "/o/{org}/keys/{id}/enable" => portal::keys::disable::enable,
        GET "/o/{org}/keys/{id}/rotate" => portal::keys::rotate::form,
        POST "/o/{org}/keys/{id}/rotate" => portal::keys::rotate::submit,
        GET "/o/{org}/keys/{id}/rotation" => portal::keys::cockpit::refresh,
        GET "/o/{org}/keys/{id}/rotation/end" => portal::keys::overlap::confirm_end,
        POST "/o/{org}/keys/{id}/rotation/end" => portal::keys::overlap::end,
        GET "/o/{org}/keys/{id}/rotation/move" => portal::keys::overlap::move_form,
        POST "/o/{org}/keys/{id}/rotation/move" => portal::keys::overlap::move_end,
        GET "/o/{org}/calendar" => portal::calendar::show,
        POST "/o/{org}/calendar" => portal::calendar::make,
        POST "/o/{org}/calendar/end" => portal::calendar::end,
        GET "/o/{org}/keys/{id}/owner" => portal::keys::owner::form,
        POST "/o/{org}/keys/{id}/owner" => portal::keys::owner::submit,
        GET "/o/{org}/keys/{id}/revoke" => portal::keys::revoke::confirm,
        POST "/o/{org}/keys/{id}/revoke" => portal::keys::revoke::submit,
        GET "/account/notices" => portal::notices::form,
        POST "/account/notices" => portal::notices::save,
        GET "/unsubscribe/{token}" => portal::notices::unsubscribe_form,
        POST "/unsubscribe/{token}" => portal::notices::unsubscribe,
        POST "/o/{org}/keys/{id}/seen" => portal::keys::notices::seen,
        GET "/o/{org}/keys/{id}/limit" => portal::keys::limit::form,
        POST "/o/{org}/keys/{id}/limit" => portal::keys::limit::submit,
        POST "/o/{org}/keys/{id}/limit/withdraw" => portal::keys::limit::withdraw,
        GET "/o/{org}/keys/{id}/limit/decision" => portal::keys::limit_decision::form,
        POST "/o/{org}/keys/{id}/limit/decision" => portal::keys::limit_decision::submit,
        GET "/o/{org}/mail" => portal::mail::show,
        POST "/o/{org}/mail/test" => portal::mail::test,
        POST "/o/{org}/mail/{id}/send" => portal::mail::send_again,
        GET "/o/{org}/usage" => portal::usage::overview::show,
        GET "/o/{org}/usage.csv" => portal::usage::export::show,
        GET "/o/{org}/members" => members::list::show,
        POST "/o/{org}/members" => members::list::invite,
        GET "/o/{org}/members/roles" => members::roles::show,
        GET "/o/{org}/members/{id}" => members::show::show,
        POST "/o/{org}/members/{id}/role" => members::show::set_role,
        GET "/o/{org}/members/{id}/disable" => members::disable::confirm_disable,
        POST "/o/{org}/members/{id}/disable" => members::disable::disable,
        GET "/o/{org}/members/{id}/enable" => members::disable::confirm_enable,
        POST "/o/{org}/members/{id}/enable" => members::disable::enable,
        GET "/o/{org}/members/{id}/remove" => members::remove::confirm,
        POST "/o/{org}/members/{id}/remove" => members::remove::submit,
        POST "/o/{org}/invitations/{id}/send" => members::list::send_again,
        POST "/o/{org}/invitations/{id}/withdraw" => members::list::withdraw,
        GET "/o/{org}/service-accounts/new" => members::service::form,
        POST "/o/{org}/service-accounts" => members::service::create,
        GET "/o/{org}/service-accounts/{id}/edit" => members::service::edit_form,
        POST "/o/{org}/service-accounts/{id}/edit" => members::service::edit,
        GET "/o/{org}/leave" => members::remove::confirm_leaving,
        POST "/o/{org}/leave" => members::remove::leave,
        GET "/o/{org}/settings" => portal::settings::organization::show,
        POST "/o/{org}/settings" => portal::settings::organization::save,
        GET "/o/{org}/settings/policy" => portal::settings::policy::show,
        POST "/o/{org}/settings/policy" => portal::settings::policy::submit,
        GET "/o/{org}/settings/requests" => portal::settings::requests::show,
    ]
}
