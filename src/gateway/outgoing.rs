//! Request bodies on their way to the upstream.

use actix_web::web::Bytes;

use crate::gateway::include_usage::with_usage;
use crate::gateway::off_thread::off_thread;
use crate::gateway::protocol::Protocol;
use crate::gateway::reply::{Body, Reply, Route};
use crate::gateway::router::Router;
use crate::gateway::upstream::MAX_READ;
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::{tokens, watch};
use crate::time::Time;
use crate::web::problem::Problem;
use crate::web::ticket::Ticket;

/// A request body, as the upstream gets it.
pub struct Outgoing {
    body: Bytes,
    /// The estimated tokens.
    pub tokens: u64,
    /// The client's body, if Keydesk added the request for usage to it.
    original: Option<Bytes>,
}

impl Outgoing {
    /// The body as the client sent it. If it begins a stream that reports usage only on request, that request is
    /// added.
    pub async fn new(protocol: Protocol, is_stream: bool, body: Bytes) -> Outgoing {
        let adds_usage = is_stream && protocol.reports_usage_on_request();
        let text = body.clone();
        let read = move || (tokens::of_request(&text), adds_usage.then(|| with_usage(&text)).flatten());
        let (tokens, with_usage) = off_thread(body.len(), read).await.unwrap_or_default();
        match with_usage {
            Some(with_usage) => Outgoing { body: with_usage.into(), tokens, original: Some(body) },
            None => Outgoing { body, tokens, original: None },
        }
    }

    /// Whether Keydesk requested the usage, and not the client.
    pub fn adds_usage(&self) -> bool {
        self.original.is_some()
    }

    /// Sends the body, and once more without the request for usage if the upstream knows no such request.
    pub async fn send(
        &mut self,
        router: &Router,
        route: Route,
        ticket: &Ticket,
        forwarded: &Forwarded,
    ) -> Result<Reply, Problem> {
        let call = |body: Bytes| router.call(route, body, ticket, forwarded, Time::now());
        let send = |body: Bytes| watch::answer(ticket, call(body));
        let mut reply = send(std::mem::take(&mut self.body)).await?;
        if matches!(reply.status.as_u16(), 400 | 422)
            && let Some(original) = self.original.take()
        {
            let text = watch::answer(ticket, reply.body.collect(MAX_READ)).await?;
            let names = |name: &str| text.windows(name.len()).any(|part| part == name.as_bytes());
            if names("stream_options") || names("include_usage") {
                return send(original).await;
            }
            reply.body = Body::Whole(text);
        }
        Ok(reply)
    }
}
