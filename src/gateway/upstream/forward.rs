//! What is forwarded of a client's request, and what is passed on of a response, besides their content.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{self as ours, HeaderMap as OurHeaders};
use actix_web::{FromRequest, HttpRequest};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::keys::secret::contains_key;
use crate::web::problem::Problem;

/// The headers of a request that are forwarded, each with its maximum length in bytes.
///
/// `OpenAI-Organization` and `OpenAI-Project` are not among them: they choose who pays at the operator's account.
/// Neither is `Idempotency-Key`: all keys share that account, and the upstream would answer one client with the
/// response to another.
const FORWARDED: [(&str, usize); 3] = [("traceparent", 128), ("tracestate", 512), ("openai-beta", 256)];
/// The longest `User-Agent` of a client that is forwarded, in bytes.
const MAX_AGENT: usize = 256;
/// Keydesk's own product in `User-Agent` (RFC 9110 section 10.1.5).
const PRODUCT: &str = concat!("keydesk/", env!("CARGO_PKG_VERSION"));

/// The headers of a response that are passed on. Those about the operator's account, such as its limits, and
/// cookies are not.
const PASSED_ON: [&str; 9] = [
    "content-type",
    "content-disposition",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
    "openai-version",
    "deprecation",
    "sunset",
];
/// The longest header of a response that is passed on, in bytes.
const MAX_PASSED_ON: usize = 512;

/// The headers of a client's request that the upstream gets.
#[derive(Clone)]
pub struct Forwarded(pub(super) HeaderMap);

impl FromRequest for Forwarded {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Forwarded::of(request.headers())))
    }
}

impl Forwarded {
    fn of(sent: &OurHeaders) -> Forwarded {
        let mut headers = HeaderMap::with_capacity(8);
        for (name, most) in FORWARDED {
            for value in sent.get_all(name).filter_map(|value| harmless(value, most)) {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.append(HeaderName::from_static(name), value);
                }
            }
        }
        let agent = sent.get(ours::USER_AGENT).and_then(|agent| harmless(agent, MAX_AGENT));
        let agent = agent.map_or_else(|| PRODUCT.to_owned(), |agent| format!("{agent} {PRODUCT}"));
        if let Ok(agent) = HeaderValue::from_str(&agent) {
            headers.insert(USER_AGENT, agent);
        }
        Forwarded(headers)
    }
}

/// The text of a value that is short and contains no key.
fn harmless(value: &ours::HeaderValue, most: usize) -> Option<&str> {
    let text = value.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= most && !contains_key(text)).then_some(text)
}

/// The headers of a response that are passed on.
pub(super) fn passed_on(received: &HeaderMap) -> OurHeaders {
    let mut headers = OurHeaders::with_capacity(4);
    for name in PASSED_ON {
        pass_on(received, name, &mut headers);
    }
    headers
}

/// Passes one header on.
pub(super) fn pass_on(received: &HeaderMap, name: &'static str, headers: &mut OurHeaders) {
    for value in received.get_all(name).iter().filter(|value| value.len() <= MAX_PASSED_ON) {
        if let Ok(value) = ours::HeaderValue::from_bytes(value.as_bytes()) {
            headers.append(ours::HeaderName::from_static(name), value);
        }
    }
}
