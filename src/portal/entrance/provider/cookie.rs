//! The cookie of a sign-in that a stranger has started at a provider. It holds the sealed flow, so that starting one
//! stores nothing in the database.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, CookieBuilder, SameSite};

use crate::crypto::sha256;
use crate::people::oauth::flow;

/// The cookie for the flow with this state.
pub(super) fn with(state: &str, sealed: String, https: bool) -> Cookie<'static> {
    let lasts = Duration::seconds(flow::LASTS);
    base(state, sealed, https).max_age(lasts).finish()
}

/// The sealed flow with this state, if this browser started it.
pub(super) fn read(request: &HttpRequest, state: &str, https: bool) -> Option<String> {
    request.cookie(&name(state, https)).map(|cookie| cookie.value().to_owned())
}

/// Removes the cookie, so that the flow can be completed once.
pub(super) fn removal(state: &str, https: bool) -> Cookie<'static> {
    let mut cookie = base(state, String::new(), https).finish();
    cookie.make_removal();
    cookie
}

/// Each flow has a cookie of its own, because people may start several in different tabs.
fn name(state: &str, https: bool) -> String {
    let prefix = if https { "__Host-" } else { "" };
    format!("{prefix}keydesk-sign-in-{}", hex::encode(&sha256(state.as_bytes())[..8]))
}

fn base(state: &str, value: String, https: bool) -> CookieBuilder<'static> {
    Cookie::build(name(state, https), value)
        .path("/")
        .secure(https)
        .http_only(true)
        // Strict would keep the cookie back on the return from the provider.
        .same_site(SameSite::Lax)
}
