//! What belongs to one request while it is answered.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};

/// The id of a request.
#[derive(Clone)]
pub struct RequestName(pub String);

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestName>().map(|name| name.0.clone()).unwrap_or_default()
}

/// Headers that every answer to a key carries; the gate leaves them for the envelope.
pub struct KeyHeaders(pub HeaderMap);

/// Sets a header to a value made at run time; one that can't stand in a header is left out.
pub fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
