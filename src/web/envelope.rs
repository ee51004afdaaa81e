//! What surrounds every request: its id, the headers that guard browsers, the log line, and
//! the look of errors.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpRequest};

use crate::id::RequestId;
use crate::path::{self, Pattern};
use crate::time::Time;
use crate::web::connections::{Answering, give_way};
use crate::web::principal::KeyCaller;
use crate::web::problem::{Code, Problem};
use crate::web::request::{KeyHeaders, RequestName};
use crate::web::{Shared, error_page, form, redact};

/// Nothing but our own files, nothing inline, and no other site may frame or receive a form.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What programs get is no page and loads nothing.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// Wraps every request.
pub async fn wrap(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let answering = Answering::new(request.request());
    give_way(request.request()).await;
    let id = RequestId::new(Time::now()).to_string();
    request.extensions_mut().insert(RequestName(id.clone()));
    let https = request.app_data::<Shared>().is_some_and(|site| site.public_url.is_https());
    let path = request.path().to_owned();
    let response = match form::check_query(request.query_string()) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Err(problem) => Ok(request.error_response(problem)),
    };
    let mut response = match response {
        Ok(response) => response,
        Err(error) => return Err(without_request(&error, &path, https, &id)),
    };
    if let Some(problem) = problem_of(&response) {
        let rendered = render(response.request(), &problem, &id);
        response = response.into_response(rendered);
    }
    add_headers(response.headers_mut(), &path, https, &id);
    let own = response.request().extensions_mut().remove::<KeyHeaders>();
    for (name, value) in own.into_iter().flat_map(|KeyHeaders(own)| own) {
        response.headers_mut().insert(name, value);
    }
    if response.request().app_data::<Shared>().is_some_and(|site| site.is_stopping.load(Relaxed)) {
        // The next request of this client is to find another process.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    log(&response, &id, started);
    Ok(match response.response().body().size() {
        BodySize::Stream => response.map_body(|_, body| BoxBody::new(Answered { body, _until: answering })),
        _ => response,
    })
}

/// A streamed answer, during which its connection is at work.
struct Answered {
    body: BoxBody,
    _until: Option<Answering>,
}

impl MessageBody for Answered {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

/// The problem that a handler or an extractor failed with.
fn problem_of(response: &ServiceResponse<BoxBody>) -> Option<Problem> {
    let error = response.response().error()?;
    if let Some(problem) = error.as_error::<Problem>() {
        return Some(problem.clone());
    }
    Some(if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(Code::PayloadTooLarge, "The request is larger than this call takes.")
    } else {
        Problem::bad_request("The request can't be read.")
    })
}

/// A middleware failed and the request is gone with it. Only the session's store fails in
/// this way, and only for want of a database.
fn without_request(error: &Error, path: &str, https: bool, id: &str) -> Error {
    tracing::warn!(request = id, path = redact::path(path), %error, "not available");
    let problem = Problem::unavailable();
    let mut response = if is_page(path) { error_page::bare(&problem, id) } else { problem.document(id) };
    add_headers(response.headers_mut(), path, https, id);
    InternalError::from_response(problem, response).into()
}

fn render(request: &HttpRequest, problem: &Problem, id: &str) -> actix_web::HttpResponse {
    if is_page(request.path()) { error_page::whole(request, problem, id) } else { problem.document(id) }
}

fn is_page(path: &str) -> bool {
    let is_file = path.starts_with(Pattern::asset.prefix());
    let is_health = [Pattern::healthz, Pattern::readyz].iter().any(|known| path.starts_with(known.as_str()));
    !is_file && !is_health && !path::is_api(path) && path != path::API
}

fn add_headers(headers: &mut HeaderMap, path: &str, https: bool, id: &str) {
    let mut set = |name: HeaderName, value: &'static str| {
        if !headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static(value));
        }
    };
    let policy = if path::is_api(path) { NO_PAGE } else { CONTENT_SECURITY_POLICY };
    set(header::CONTENT_SECURITY_POLICY, policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CACHE_CONTROL, "no-store");
    if https {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains");
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

/// One line per request; with a key its id and name, never the key. Queries stay out, since
/// people put what they like there.
fn log(response: &ServiceResponse<BoxBody>, id: &str, started: Instant) {
    let request = response.request();
    let path = request.path();
    let is_quiet = path.starts_with(Pattern::asset.prefix())
        || path == Pattern::healthz.as_str()
        || path == Pattern::readyz.as_str();
    if is_quiet || !tracing::enabled!(tracing::Level::INFO) {
        return;
    }
    let (method, path) = (redact::method(request.method()), redact::path(path));
    let status = response.status().as_u16();
    let milliseconds = started.elapsed().as_micros() as f64 / 1000.0;
    let extensions = request.extensions();
    match extensions.get::<KeyCaller>() {
        Some(caller) => tracing::info!(
            request = id, method, path, status, milliseconds,
            key = %caller.key.key, key_name = caller.key.name, "call"
        ),
        None => tracing::info!(request = id, method, path, status, milliseconds, "request"),
    }
}
