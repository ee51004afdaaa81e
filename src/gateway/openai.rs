//! The OpenAI-compatible routes, passed through: the body is forwarded unchanged after its deciding members
//! were read, and the response is returned unchanged and counted.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;

use crate::gateway::reply::{Body, Events, Interruption, Route};
use crate::gateway::sse::event;
use crate::gateway::tokens::{self, TokenCounter};
use crate::gateway::upstream::Upstream;
use crate::gateway::watch;
use crate::time::Time;
use crate::web::body::Json;
use crate::web::problem::Problem;
use crate::web::ticket::Ticket;

/// The members of a body that Keydesk has to know. Duplicate members are refused, so that the upstream
/// can't read another one than Keydesk did.
#[derive(Deserialize)]
pub struct ForwardedBody {
    model: String,
    #[serde(rename = "stream")]
    _stream: Option<bool>,
}

/// Defines the handler of each route.
macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident => $route:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(
            upstream: Data<Upstream>,
            ticket: Ticket,
            body: Json<ForwardedBody>,
        ) -> Result<HttpResponse, Problem> {
            pass(&upstream, Route::$route, ticket, body).await
        })*
    };
}

handlers! {
    /// `POST /v1/chat/completions`.
    chat => Chat;
    /// `POST /v1/completions`.
    completions => Completions;
    /// `POST /v1/embeddings`.
    embeddings => Embeddings;
    /// `POST /v1/responses`.
    responses => Responses;
}

async fn pass(
    upstream: &Upstream,
    route: Route,
    ticket: Ticket,
    body: Json<ForwardedBody>,
) -> Result<HttpResponse, Problem> {
    ticket.set_model(&body.value.model);
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
                ticket.set_tokens(tokens::of_response(&request, &answer));
            }
            response.body(answer)
        }
        Body::Events(events) => {
            unbuffered(&mut response);
            let events = watch::events(ticket.clone(), events);
            response.streaming(counted(events, TokenCounter::new(ticket, &request)))
        }
    })
}

/// Passes the events on and counts them.
fn counted(events: Events, mut counter: TokenCounter) -> impl Stream<Item = Result<Bytes, Interruption>> {
    events.map(move |part| match part {
        Ok(bytes) => {
            counter.feed(&bytes);
            Ok(bytes)
        }
        // The last event tells the client why the stream ends.
        Err(Interruption::KeyRefused(problem)) => Ok(Bytes::from(event(&problem.event().to_string()))),
        Err(Interruption::Stopping(problem)) => {
            counter.record_break();
            Ok(Bytes::from(event(&problem.event().to_string())))
        }
        Err(interruption) => {
            counter.record_break();
            Err(interruption)
        }
    })
}

/// Keeps this process and proxies from buffering events.
pub fn unbuffered(response: &mut actix_web::HttpResponseBuilder) {
    response.insert_header((header::CONTENT_ENCODING, "identity")).insert_header(("X-Accel-Buffering", "no"));
}
