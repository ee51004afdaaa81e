//! Data that belongs to one request.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

use crate::authority::RequestSource;
use crate::keys::secret::contains_key;
use crate::web::{address, device};

/// The request id, stored in the request.
#[derive(Clone)]
pub struct RequestName(pub String);

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestName>().map(|name| name.0.clone()).unwrap_or_default()
}

/// The source of a request, for audit entries and security notices.
pub fn source(request: &HttpRequest) -> RequestSource {
    let program = request.headers().get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    RequestSource {
        address: Some(address::client(request).to_string()),
        device: Some(device::words(program.unwrap_or_default())),
        request: Some(request_id(request)),
    }
}

/// Whether a path contains an API key, plain or percent-encoded.
pub fn path_holds_key(path: &str) -> bool {
    contains_key(path) || contains_key(&percent_decode_str(path).decode_utf8_lossy())
}

/// Headers of every response to a key; the gate leaves them to the envelope.
pub struct KeyHeaders(pub Vec<(HeaderName, HeaderValue)>);

impl KeyHeaders {
    /// Adds a value; one that is not valid in a header is skipped.
    pub fn add(&mut self, name: HeaderName, value: String) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.push((name, value));
        }
    }
}
