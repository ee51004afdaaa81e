//! Protection against cross-site request forgery: an unsafe request to the portal must come from one of
//! Keydesk's own pages. Browsers prove that with `Sec-Fetch-Site` (W3C Fetch Metadata), older ones with `Origin`
//! (RFC 6454 section 7); a request with neither is refused.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use crate::path::Pattern;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};

/// Middleware for the portal's routes; runs before the session is read.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // One-click unsubscribing from a mail program has no page here; only its token counts.
    let one_click = request.path().starts_with(Pattern::unsubscribe.prefix());
    if request.method().is_safe() || one_click || is_ours(request.request()) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    let problem = Problem::new(
        Code::Forbidden,
        "The form came from another site, so nothing was changed. Open the page here and try again.",
    );
    Ok(request.error_response(problem))
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
