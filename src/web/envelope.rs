//! The outermost middleware: request id, security headers, log line and the rendering of errors.

use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage, HttpRequest};

use crate::id::RequestId;
use crate::path::{self, Pattern};
use crate::time::Time;
use crate::web::address::{self, ClientAddress};
use crate::web::connections::{Answering, yield_turn};
use crate::web::principal::KeyCaller;
use crate::web::problem::{Code, Problem};
use crate::web::request::{KeyHeaders, RequestName, client_request_id};
use crate::web::{Shared, cors, error_page, form, redact, stray};

/// Allows only Keydesk's own files and nothing inline; no other site may frame pages or receive forms.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// For responses to programs, which are no pages and load nothing.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// Wraps every request.
pub async fn wrap(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let answering = Answering::new(request.request());
    yield_turn(request.request()).await;
    let id = RequestId::new(Time::now()).to_string();
    request.extensions_mut().insert(RequestName(id.as_str().into()));
    let https = request.app_data::<Shared>().is_some_and(|site| site.public_url.is_https());
    let path = request.path().to_owned();
    let client = address::client(request.request());
    let response = match form::check_query(request.query_string()) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Err(problem) => Ok(request.error_response(problem)),
    };
    let mut response = match response {
        Ok(response) => response,
        Err(error) => return Err(without_request(&error, &path, client, https, &id)),
    };
    if let Some(problem) = problem_of(&response) {
        let rendered = render(response.request(), &problem, &id);
        response = response.into_response(rendered);
    }
    add_headers(response.headers_mut(), &path, https, &id);
    if let Some(site) = response.request().app_data::<Shared>().cloned() {
        let origin = response.request().headers().get(header::ORIGIN).cloned();
        cors::share(&site.cors_origins, &path, origin.as_ref(), response.headers_mut());
    }
    let own = response.request().extensions_mut().remove::<KeyHeaders>();
    for (name, value) in own.into_iter().flat_map(|KeyHeaders(own)| own) {
        response.headers_mut().insert(name, value);
    }
    if response.request().app_data::<Shared>().is_some_and(|site| site.is_stopping.load(Relaxed)) {
        // The client's next request should reach another process.
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    close_streams_to_http_1_0(&mut response);
    log(&response, &id, client, started);
    Ok(match response.response().body().size() {
        BodySize::Stream => response.map_body(|_, body| BoxBody::new(Answered { body, _until: answering })),
        _ => response,
    })
}

/// Ends a streamed response to an HTTP/1.0 client by closing the connection: it does not know chunks
/// (RFC 9112 section 6.1).
fn close_streams_to_http_1_0(response: &mut ServiceResponse<BoxBody>) {
    let is_old = response.request().version() < Version::HTTP_11;
    if is_old && response.response().body().size() == BodySize::Stream {
        let head = response.response_mut().head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
}

/// A streamed response, which keeps its connection marked as answering.
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

/// The problem with which a handler or extractor failed.
fn problem_of(response: &ServiceResponse<BoxBody>) -> Option<Problem> {
    let error = response.response().error()?;
    if let Some(problem) = error.as_error::<Problem>() {
        return Some(problem.clone());
    }
    Some(if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::new(Code::PayloadTooLarge, "The request is larger than this route accepts.")
    } else {
        Problem::bad_request("The request can't be read.")
    })
}

/// Renders the failure of a middleware, which drops the request. Only the session store can fail like this,
/// and only if the database is unavailable.
fn without_request(error: &Error, path: &str, client: ClientAddress, https: bool, id: &str) -> Error {
    tracing::warn!(request = id, path = redact::path(path), %client, %error, "reading the session failed");
    let problem = Problem::unavailable();
    let mut response = if is_page(path) { error_page::bare(&problem, id) } else { problem.document(id) };
    add_headers(response.headers_mut(), path, https, id);
    InternalError::from_response(problem, response).into()
}

fn render(request: &HttpRequest, problem: &Problem, id: &str) -> actix_web::HttpResponse {
    let is_page = is_page(request.path()) && !stray::is_program(request);
    if is_page { error_page::whole(request, problem, id) } else { problem.document(id) }
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

/// Writes one log line per request with the client's address; with a key, it contains the key's id and name, never
/// the secret. Queries are left out, since they may contain anything.
fn log(response: &ServiceResponse<BoxBody>, id: &str, client: ClientAddress, started: Instant) {
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
    let client_request_id = client_request_id(request);
    let extensions = request.extensions();
    match extensions.get::<KeyCaller>() {
        Some(caller) => tracing::info!(
            request = id, client_request_id, method, path, status, milliseconds, %client,
            key = %caller.key.key, key_name = caller.key.name, "request"
        ),
        None => {
            tracing::info!(request = id, client_request_id, method, path, status, milliseconds, %client, "request")
        }
    }
}
