//! The OpenAI-compatible routes, passed through: the body goes on as it came, once what
//! decides about it is known.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use serde::Deserialize;

use crate::gateway::upstream::{Body, Reply, Route, Upstream};
use crate::time::Time;
use crate::web::body::Json;
use crate::web::problem::Problem;

/// What must be known of a call. Twice the same member is refused, so that the upstream can't
/// read another one than was looked at.
#[derive(Deserialize)]
pub struct Known {
    #[serde(rename = "model")]
    _model: String,
    #[serde(rename = "stream")]
    _stream: Option<bool>,
}

/// `POST /v1/chat/completions`.
pub async fn chat(upstream: Data<Upstream>, body: Json<Known>) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Chat, body).await
}

/// `POST /v1/completions`.
pub async fn completions(upstream: Data<Upstream>, body: Json<Known>) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Completions, body).await
}

/// `POST /v1/embeddings`.
pub async fn embeddings(upstream: Data<Upstream>, body: Json<Known>) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Embeddings, body).await
}

/// `POST /v1/responses`.
pub async fn responses(upstream: Data<Upstream>, body: Json<Known>) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Responses, body).await
}

async fn pass(upstream: &Upstream, route: Route, body: Json<Known>) -> Result<HttpResponse, Problem> {
    Ok(respond(upstream.call(route, body.bytes, Time::now()).await?))
}

/// The upstream's answer as ours.
fn respond(reply: Reply) -> HttpResponse {
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY));
    response.content_type(reply.content_type);
    if let Some(wait) = reply.retry_after {
        response.insert_header((header::RETRY_AFTER, wait));
    }
    match reply.body {
        Body::Whole(bytes) => response.body(bytes),
        Body::Events(events) => {
            unbuffered(&mut response);
            response.streaming(events)
        }
    }
}

/// Keeps an event from waiting for the next one, here and in proxies.
pub fn unbuffered(response: &mut actix_web::HttpResponseBuilder) {
    response.insert_header((header::CONTENT_ENCODING, "identity")).insert_header(("X-Accel-Buffering", "no"));
}
