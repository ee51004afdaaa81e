//! Protection against cross-site request forgery: an unsafe request to the portal must come from one of
//! Keydesk's own pages. Browsers prove that with `Sec-Fetch-Site` (W3C Fetch Metadata), older ones with `Origin`
//! (RFC 6454 section 7); a request with neither is refused.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use crate::path::Pattern;
use crate::web::problem::{Code, Problem};
use crate::web::request::request_id;
use crate::web::{Shared, address, host, stray};

/// Middleware for the portal's routes; runs before the session is read.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // One-click unsubscribing from a mail program has no page here; only its token counts.
    let one_click = request.path().starts_with(Pattern::unsubscribe.prefix());
    // Without a route, nothing can be changed, and the response says so.
    let has_route = request.match_pattern().is_some();
    if request.method().is_safe() || one_click || !has_route || is_ours(request.request()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let problem = Problem::new(Code::Forbidden, refusal(request.request()));
    Ok(request.error_response(problem))
}

/// Why a request is refused, and what to do. Also logged, because only the operator can change the address.
fn refusal(request: &HttpRequest) -> String {
    if stray::is_program(request) {
        let base = stray::base_url(request);
        return format!(
            "Nothing was changed: this address is a page for people. The base URL of the API is {base}."
        );
    }
    let public = request.app_data::<Shared>().map(|site| site.public_url.origin()).unwrap_or_default();
    let host = host::used(request);
    let origin = request.headers().get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let origin = origin.filter(|origin| host.is_some_and(|host| names_host(origin, host)));
    let (id, client, shown) = (request_id(request), address::client(request), host.unwrap_or("unreadable"));
    match origin {
        Some(used) if used != public => {
            tracing::warn!(
                request = &*id, %client, host = shown, public_url = public,
                "a form was refused, because Keydesk was opened at another address than KEYDESK_PUBLIC_URL"
            );
            format!(
                "Nothing was changed: you opened Keydesk at {used}, but its address is {public}. Open {public} and \
                 try again. If {used} is the right address, the operator has to set KEYDESK_PUBLIC_URL to it."
            )
        }
        _ => {
            tracing::debug!(
                request = &*id, %client, host = shown, public_url = public,
                "a form was refused, because it came from another site or by a proxy that changes `Host`"
            );
            format!("The form came from another site, so nothing was changed. Open {public} and try again.")
        }
    }
}

/// Whether an origin is that of a page on this host, as the browser sees it.
fn names_host(origin: &str, host: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(scheme, name)| matches!(scheme, "http" | "https") && name.eq_ignore_ascii_case(host))
}

fn is_ours(request: &HttpRequest) -> bool {
    if let Some(site) = request.headers().get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        return false;
    };
    request.app_data::<Shared>().is_some_and(|site| origin == site.public_url.origin())
}
