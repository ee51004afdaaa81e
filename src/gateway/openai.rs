//! The OpenAI-compatible routes, passed through: the body goes on as it came, once what
//! decides about it is known, and the answer comes back as it is, counted.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use crate::gateway::reply::{Body, Events, Interruption, Route};
use crate::gateway::sse::event;
use crate::gateway::tokens::{self, Tally};
use crate::gateway::upstream::Upstream;
use crate::gateway::watch;
use crate::time::Time;
use crate::web::body::Json;
use crate::web::problem::Problem;
use crate::web::ticket::Ticket;

/// What must be known of a call. Twice the same member is refused, so that the upstream can't
/// read another one than was looked at.
#[derive(Deserialize)]
pub struct Known {
    model: String,
    #[serde(rename = "stream")]
    _stream: Option<bool>,
}

/// `POST /v1/chat/completions`.
pub async fn chat(
    upstream: Data<Upstream>,
    ticket: Ticket,
    body: Json<Known>,
) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Chat, ticket, body).await
}

/// `POST /v1/completions`.
pub async fn completions(
    upstream: Data<Upstream>,
    ticket: Ticket,
    body: Json<Known>,
) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Completions, ticket, body).await
}

/// `POST /v1/embeddings`.
pub async fn embeddings(
    upstream: Data<Upstream>,
    ticket: Ticket,
    body: Json<Known>,
) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Embeddings, ticket, body).await
}

/// `POST /v1/responses`.
pub async fn responses(
    upstream: Data<Upstream>,
    ticket: Ticket,
    body: Json<Known>,
) -> Result<HttpResponse, Problem> {
    pass(&upstream, Route::Responses, ticket, body).await
}

async fn pass(
    upstream: &Upstream,
    route: Route,
    ticket: Ticket,
    body: Json<Known>,
) -> Result<HttpResponse, Problem> {
    ticket.asks_for(&body.value.model);
    let request = body.bytes;
    let reply = watch::answer(&ticket, upstream.call(route, request.clone(), Time::now())).await?;
    let mut response =
        HttpResponse::build(StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY));
    response.content_type(reply.content_type);
    if let Some(wait) = reply.retry_after {
        response.insert_header((header::RETRY_AFTER, wait));
    }
    Ok(match reply.body {
        Body::Whole(answer) => {
            if reply.status < 400 {
                ticket.cost(tokens::of_answer(&request, &answer));
            }
            response.body(answer)
        }
        Body::Events(events) => {
            unbuffered(&mut response);
            let events = watch::events(ticket.clone(), events);
            response.streaming(counted(events, Tally::new(ticket, &request)))
        }
    })
}

/// The events as they come, counted on their way.
fn counted(events: Events, mut tally: Tally) -> impl Stream<Item = Result<Bytes, Interruption>> {
    events.map(move |part| match part {
        Ok(bytes) => {
            tally.feed(&bytes);
            Ok(bytes)
        }
        // The last event: the client learns why there is no more.
        Err(Interruption::KeyRefused(problem)) => Ok(Bytes::from(event(&problem.event().to_string()))),
        Err(Interruption::Stopping(problem)) => {
            tally.broke_off();
            Ok(Bytes::from(event(&problem.event().to_string())))
        }
        Err(interruption) => {
            tally.broke_off();
            Err(interruption)
        }
    })
}

/// Keeps an event from waiting for the next one, here and in proxies.
pub fn unbuffered(response: &mut actix_web::HttpResponseBuilder) {
    response.insert_header((header::CONTENT_ENCODING, "identity")).insert_header(("X-Accel-Buffering", "no"));
}
