//! `/v1/authorize`: forward authentication for proxies.
//!
//! The gate has checked the key, its limit and the scopes in the query; this handler only reports the
//! key to the proxy.

use actix_web::HttpResponse;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::time::Time;
use crate::verify::decision::effective_scopes;
use crate::web::principal::KeyCaller;

/// `ANY /v1/authorize[/…]`: 200 with the key in headers.
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
