//! `/v1/authorize`: forward authentication, for proxies that ask whether a request may pass.
//!
//! The gate has checked the key, its limit and the scopes that the query asks for; what is
//! left is to tell the proxy who called.

use actix_web::HttpResponse;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::time::Time;
use crate::verify::decision::effective_scopes;
use crate::web::principal::KeyCaller;

/// `ANY /v1/authorize[/…]`: 200 with who called in headers.
pub async fn authorize(caller: KeyCaller) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("X-Keydesk-Key-Id", caller.key.key.to_string()))
        .insert_header((
            "X-Keydesk-Key-Name",
            utf8_percent_encode(&caller.key.name, NON_ALPHANUMERIC).to_string(),
        ))
        .insert_header(("X-Keydesk-Org", caller.key.org_slug.as_ref()))
        .insert_header(("X-Keydesk-Scopes", effective_scopes(&caller.key, Time::now()).text()))
        .finish()
}
