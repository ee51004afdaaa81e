//! No other site may act in a person's name: an unsafe request of the portal must come from
//! one of our own pages. Browsers say so in `Sec-Fetch-Site` (W3C Fetch Metadata), older ones
//! in `Origin` (RFC 6454 section 7); a request with neither is refused.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{Error, HttpRequest};

use crate::path::Pattern;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};

/// Wraps the portal's routes, before the session is read.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // A mail program that ends notices by one click has no page here; its token is all that counts.
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
