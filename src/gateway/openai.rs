//! The OpenAI-compatible routes, passed through: the body is forwarded after its deciding members were read,
//! unchanged but for the request for usage, and the response is passed on and counted.

use actix_web::HttpResponse;
use actix_web::web::Data;
use futures_util::{StreamExt, stream};
use serde::Deserialize;

use crate::gateway::observer::Observer;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::protocol::Protocol;
use crate::gateway::relay;
use crate::gateway::reply::{Body, Interruption, Reply, Route};
use crate::gateway::router::Router;
use crate::gateway::tokens::{Member, Scanner, TokenCounter};
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::watch;
use crate::web::body::Json;
use crate::web::problem::Problem;
use crate::web::ticket::Ticket;

/// The members of a body that Keydesk has to know. Duplicate members are refused, so that the upstream
/// can't read another one than Keydesk did.
#[derive(Deserialize)]
pub struct ForwardedBody {
    model: String,
    stream: Option<bool>,
}

/// Defines the handler of each route.
macro_rules! handlers {
    ($($(#[$doc:meta])* $name:ident => $route:ident;)*) => {
        $($(#[$doc])*
        pub async fn $name(
            router: Data<Router>,
            ticket: Ticket,
            forwarded: Forwarded,
            body: Json<ForwardedBody>,
        ) -> Result<HttpResponse, Problem> {
            pass(&router, Route::$route, ticket, &forwarded, body).await
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
    router: &Router,
    route: Route,
    ticket: Ticket,
    forwarded: &Forwarded,
    body: Json<ForwardedBody>,
) -> Result<HttpResponse, Problem> {
    ticket.set_model(&body.value.model);
    let protocol = Protocol::of(route);
    let mut request = Outgoing::new(protocol, body.value.stream == Some(true), body.bytes).await;
    let reply = request.send(router, route, &ticket, forwarded).await?;
    respond(protocol, ticket, &request, reply).await
}

/// Passes the upstream's response on and counts it.
async fn respond(
    protocol: Protocol,
    ticket: Ticket,
    request: &Outgoing,
    reply: Reply,
) -> Result<HttpResponse, Problem> {
    let (mut response, is_event_stream) = (reply.begin(), reply.is_event_stream());
    // An error uses no tokens.
    let (tokens, meaning) =
        if reply.status.is_success() { (request.tokens, Member::Response) } else { (0, Member::Other) };
    let counter = TokenCounter::new(ticket.clone(), tokens);
    Ok(match reply.body {
        Body::Whole(answer) => {
            let mut scanner = Scanner::new(meaning);
            scanner.feed(&answer);
            counter.finish(scanner.facts());
            response.body(answer)
        }
        Body::Stream(parts) if is_event_stream && reply.status.is_success() => {
            let observer = Observer::new(protocol, request.adds_usage(), counter);
            response.streaming(relay::events(watch::parts(ticket, parts), observer))
        }
        Body::Stream(parts) => {
            let mut parts = watch::parts(ticket, parts).fuse();
            // Nothing was sent yet, so a body that breaks off at once can become an error response.
            let first = parts.next().await.transpose().map_err(Interruption::into_problem)?;
            let parts = stream::iter(first.map(Ok)).chain(parts);
            response.streaming(relay::whole(Box::pin(parts), meaning, counter))
        }
    })
}
