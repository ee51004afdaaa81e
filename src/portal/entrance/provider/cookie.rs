//! The cookie of a sign-in that a stranger has started at a provider. It holds the sealed flow, so that starting one
//! stores nothing in the database.

use actix_web::HttpRequest;
use actix_web::cookie::time::Duration;
use actix_web::cookie::{Cookie, CookieBuilder, SameSite};

use crate::crypto::sha256;
use crate::people::oauth::flow;

/// How many flows a browser may have started and not completed.
const MOST: usize = 8;

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

/// Removals of all cookies of flows that were started before, once there are [`MOST`]. Otherwise, links that open many
/// sign-ins would fill the browser's store until it drops the session, or requests become too long.
pub(super) fn removals(request: &HttpRequest, https: bool) -> Vec<Cookie<'static>> {
    let Ok(cookies) = request.cookies() else { return Vec::new() };
    let prefix = prefix(https);
    let names = cookies.iter().map(Cookie::name).filter(|name| name.starts_with(&prefix));
    let names: Vec<String> = names.map(str::to_owned).collect();
    if names.len() < MOST {
        return Vec::new();
    }
    let remove = |name| {
        let mut cookie = named(name, String::new(), https).finish();
        cookie.make_removal();
        cookie
    };
    names.into_iter().map(remove).collect()
}

/// Each flow has a cookie of its own, because people may start several in different tabs.
fn name(state: &str, https: bool) -> String {
    format!("{}{}", prefix(https), hex::encode(&sha256(state.as_bytes())[..8]))
}

fn prefix(https: bool) -> String {
    format!("{}keydesk-sign-in-", if https { "__Host-" } else { "" })
}

fn base(state: &str, value: String, https: bool) -> CookieBuilder<'static> {
    named(name(state, https), value, https)
}

fn named(name: String, value: String, https: bool) -> CookieBuilder<'static> {
    Cookie::build(name, value)
        .path("/")
        .secure(https)
        .http_only(true)
        // Strict would keep the cookie back on the return from the provider.
        .same_site(SameSite::Lax)
}
