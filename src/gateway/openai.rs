//! The OpenAI-compatible routes, passed through: the body is forwarded unchanged after its deciding members
//! were read, and the response is returned unchanged and counted.

use std::task::Poll;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;

use crate::gateway::reply::{Body, Interruption, Parts, Route};
use crate::gateway::sse::event;
use crate::gateway::tokens::{self, TokenCounter};
use crate::gateway::upstream::Upstream;
use crate::gateway::upstream::forward::Forwarded;
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
            forwarded: Forwarded,
            body: Json<ForwardedBody>,
        ) -> Result<HttpResponse, Problem> {
            pass(&upstream, Route::$route, ticket, &forwarded, body).await
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
    forwarded: &Forwarded,
    body: Json<ForwardedBody>,
) -> Result<HttpResponse, Problem> {
    ticket.set_model(&body.value.model);
    let request = body.bytes;
    let call = upstream.call(route, request.clone(), &ticket, forwarded, Time::now());
    let reply = watch::answer(&ticket, call).await?;
    let (mut response, is_event_stream) = (reply.begin(), reply.is_event_stream());
    let is_success = reply.status.is_success();
    Ok(match reply.body {
        Body::Whole(answer) => {
            ticket.set_tokens(tokens::of_response(&request, &answer));
            response.body(answer)
        }
        Body::Stream(parts) => {
            let parts = watch::parts(ticket.clone(), parts);
            if is_event_stream {
                response.streaming(counted(parts, TokenCounter::new(ticket, &request)))
            } else {
                response.streaming(whole(parts, ticket, request, is_success))
            }
        }
    })
}

/// The longest response whose tokens are counted, in bytes.
const MAX_COUNTED: usize = 8 * 1024 * 1024;

/// Passes the content of a whole response on and counts it at its end, unless it is longer than
/// [`MAX_COUNTED`].
fn whole(
    mut parts: Parts,
    ticket: Ticket,
    request: Bytes,
    is_success: bool,
) -> impl Stream<Item = Result<Bytes, Interruption>> {
    let mut kept = is_success.then(Vec::new);
    stream::poll_fn(move |context| {
        let part = std::task::ready!(parts.poll_next_unpin(context));
        match &part {
            Some(Ok(bytes)) => {
                kept = kept.take().filter(|kept| kept.len() + bytes.len() <= MAX_COUNTED);
                if let Some(kept) = &mut kept {
                    kept.extend_from_slice(bytes);
                }
            }
            Some(Err(Interruption::Upstream(break_off))) => break_off.report(),
            Some(Err(_)) => ticket.record_break(),
            None => {
                if let Some(kept) = kept.take() {
                    ticket.set_tokens(tokens::of_response(&request, &kept));
                }
            }
        }
        Poll::Ready(part)
    })
}

/// Passes the events on and counts them.
fn counted(events: Parts, mut counter: TokenCounter) -> impl Stream<Item = Result<Bytes, Interruption>> {
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
        Err(Interruption::Upstream(break_off)) => {
            break_off.report();
            Err(Interruption::Upstream(break_off))
        }
    })
}
