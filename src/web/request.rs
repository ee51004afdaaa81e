//! What belongs to one request while it is answered.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

use crate::authority::RequestSource;
use crate::keys::secret::contains_key;
use crate::web::{address, device};

/// The id of a request.
#[derive(Clone)]
pub struct RequestName(pub String);

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> String {
    request.extensions().get::<RequestName>().map(|name| name.0.clone()).unwrap_or_default()
}

/// Where a request comes from, for audit entries and security notices.
pub fn source(request: &HttpRequest) -> RequestSource {
    let program = request.headers().get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    RequestSource {
        address: Some(address::client(request).to_string()),
        device: Some(device::words(program.unwrap_or_default())),
        request: Some(request_id(request)),
    }
}

/// Whether there is an API key in a path, as it stands or percent-encoded.
pub fn path_holds_key(path: &str) -> bool {
    contains_key(path) || contains_key(&percent_decode_str(path).decode_utf8_lossy())
}

/// Headers that every answer to a key carries; the gate leaves them for the envelope.
pub struct KeyHeaders(pub Vec<(HeaderName, HeaderValue)>);

impl KeyHeaders {
    /// Adds a value made at run time; one that can't stand in a header is left out.
    pub fn add(&mut self, name: HeaderName, value: String) {
        if let Ok(value) = HeaderValue::try_from(value) {
            self.0.push((name, value));
        }
    }
}
