//! Data that belongs to one request.

use std::rc::Rc;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};
use percent_encoding::percent_decode_str;

use crate::authority::RequestSource;
use crate::keys::secret::contains_key;
use crate::web::{address, device};

/// The request id, stored in the request.
#[derive(Clone)]
pub struct RequestName(pub Rc<str>);

/// The id of this request.
pub fn request_id(request: &HttpRequest) -> Rc<str> {
    request.extensions().get::<RequestName>().map_or_else(|| Rc::from(""), |name| name.0.clone())
}

/// The longest id of its own that a client can give a request, in bytes.
const MAX_CLIENT_ID: usize = 128;

/// The client's own id of this request, for the log: it never replaces Keydesk's. `None` if it has none, or one
/// that is not safe to log.
pub fn client_request_id(request: &HttpRequest) -> Option<&str> {
    let id = request.headers().get("x-request-id")?.to_str().ok()?.trim();
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@".contains(&byte);
    (!id.is_empty() && id.len() <= MAX_CLIENT_ID && id.bytes().all(is_safe) && !contains_key(id))
        .then_some(id)
}

/// The source of a request, for audit entries and security notices.
pub fn source(request: &HttpRequest) -> RequestSource {
    let program = request.headers().get(header::USER_AGENT).and_then(|program| program.to_str().ok());
    RequestSource {
        address: Some(address::client(request).to_string()),
        device: Some(device::words(program.unwrap_or_default())),
        request: Some(request_id(request).to_string()),
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
