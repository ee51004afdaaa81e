//! The destination of inference requests: an OpenAI-compatible server, or the built-in echo.
//!
//! The upstream comes only from the configuration, is never redirected, and receives its own credential,
//! never the client's.

mod content;
pub mod failure;
pub mod forward;
mod treatment;
mod turn;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use futures_util::{StreamExt, stream};
use reqwest::Url;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::config::Outbound;
use crate::gateway::echo;
use crate::gateway::reply::{Body, Reply, Route, unreadable};
pub use crate::gateway::upstream::failure::Patience;
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::upstream::treatment::{NoResponse, Treatment};
pub use crate::gateway::upstream::turn::{Miss, Turn};
use crate::time::Time;
use crate::web::problem::Problem;
use crate::web::ticket::{Ticket, UpstreamFacts};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest response that Keydesk reads itself, in bytes. Others are passed on unread.
pub const MAX_READ: usize = 32 * 1024 * 1024;
/// How much of an error response is read, in bytes, and how long that may take.
const MAX_ERROR: (usize, Duration) = (64 * 1024, Duration::from_secs(5));

/// How clients for upstreams are made.
#[derive(Clone)]
pub struct ClientOptions {
    /// How long an upstream may stay silent.
    pub patience: Patience,
    /// The number of server threads. Each has a client with connections of its own.
    pub threads: usize,
    pub outbound: Outbound,
}

/// The destination of inference requests.
pub enum Upstream {
    /// The built-in echo.
    Echo,
    /// An OpenAI-compatible server.
    Server(Box<Server>),
}

/// An OpenAI-compatible server.
pub struct Server {
    /// Its host and port, for the log.
    name: String,
    /// A client with its own connections for each server thread.
    clients: Vec<reqwest::Client>,
    /// The URL of the model list.
    models: Url,
    /// The URLs of the routes, in the order of [`Route`].
    routes: [Url; 4],
    /// Its credential.
    key: Option<SecretString>,
    /// How long it may stay silent.
    patience: Patience,
}

impl Upstream {
    /// The server at `url`, or the echo, for this number of server threads. `patience` is how long the server may
    /// stay silent, before its response and within it.
    pub fn new(
        url: Option<String>,
        key: Option<SecretString>,
        options: &ClientOptions,
    ) -> Result<Upstream, reqwest::Error> {
        let Some(url) = url else { return Ok(Upstream::Echo) };
        Ok(Upstream::Server(Box::new(Server::new(None, &url, key, options)?)))
    }

    /// The models that the upstream lists in its response to `GET /models`.
    pub async fn models(
        &self,
        ticket: &Ticket,
        forwarded: &Forwarded,
        now: Time,
    ) -> Result<Vec<Value>, Problem> {
        let (is_success, mut list) = match self {
            Upstream::Echo => (true, echo::models(now)),
            Upstream::Server(server) => {
                let request = || own(&server.clients).get(server.models.clone());
                let reply =
                    server.send(ticket, forwarded, Turn::Last, request).await.map_err(Miss::problem)?;
                (reply.status.is_success(), reply.body.json(MAX_READ).await?)
            }
        };
        match list["data"].take() {
            Value::Array(data) if is_success => Ok(data),
            _ => Err(unreadable()),
        }
    }

    /// Sends a request with this body, unchanged.
    pub async fn call(
        &self,
        route: Route,
        body: Bytes,
        ticket: &Ticket,
        forwarded: &Forwarded,
        now: Time,
    ) -> Result<Reply, Problem> {
        match self {
            Upstream::Echo => echo::answer(route, &body, now),
            Upstream::Server(server) => {
                server.call(route, body, ticket, forwarded, Turn::Last).await.map_err(Miss::problem)
            }
        }
    }
}

impl Server {
    /// A server at this base URL. `name` is what the log calls it, by default its host and port.
    pub fn new(
        name: Option<&str>,
        url: &str,
        key: Option<SecretString>,
        options: &ClientOptions,
    ) -> Result<Server, reqwest::Error> {
        let clients = (0..options.threads.max(1)).map(|_| client(options)).collect::<Result<Vec<_>, _>>()?;
        // Parsed once, because parsing takes longer than checking a key.
        let address = |path: &str| Ok(clients[0].get(format!("{url}{path}")).build()?.url().clone());
        let models = address("/models")?;
        let [chat, completions, embeddings, responses] = Route::ALL.map(|route| address(route.path()));
        let routes = [chat?, completions?, embeddings?, responses?];
        let port = models.port().map_or(String::new(), |port| format!(":{port}"));
        let host = || format!("{}{port}", models.host_str().unwrap_or_default());
        let name = name.map_or_else(host, str::to_owned);
        Ok(Server { name, clients, models, routes, key, patience: options.patience })
    }

    /// Sends a request with this body, unchanged.
    pub async fn call(
        &self,
        route: Route,
        body: Bytes,
        ticket: &Ticket,
        forwarded: &Forwarded,
        turn: Turn,
    ) -> Result<Reply, Miss> {
        let request = || {
            own(&self.clients)
                .post(self.routes[route as usize].clone())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .header(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"))
                .body(body.clone())
        };
        self.send(ticket, forwarded, turn, request).await
    }

    async fn send(
        &self,
        ticket: &Ticket,
        forwarded: &Forwarded,
        turn: Turn,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Reply, Miss> {
        ticket.set_upstream(UpstreamFacts { name: self.name.clone(), ..UpstreamFacts::default() });
        let mut headers = forwarded.0.clone();
        // Compressing costs more than the way between two servers, and delays events.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Ok(id) = HeaderValue::from_str(ticket.request()) {
            headers.insert("x-request-id", id);
        }
        if let Some(key) = &self.key
            && let Ok(mut credential) = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
        {
            credential.set_sensitive(true);
            headers.insert(AUTHORIZATION, credential);
        }
        let attempt = || request().headers(headers.clone()).send();
        let answer = match attempt().await {
            // A failed connection did no work, so only this is retried.
            Err(error) if error.is_connect() && !error.is_timeout() => attempt().await,
            answer => answer,
        };
        match answer {
            Ok(answer) => self.read(ticket, turn, answer).await,
            Err(error) => {
                // Without a connection, no work was done.
                let may_try_next = turn == Turn::NotLast && error.is_connect();
                let NoResponse { event, cause, problem } =
                    NoResponse::of(error, self.patience, CONNECT_TIMEOUT);
                if may_try_next {
                    failure::log(ticket, turn::EVENT, &cause);
                    return Err(Miss::TryNext(problem.detail.to_string()));
                }
                failure::report(ticket, event, &cause);
                Err(Miss::Problem(problem))
            }
        }
    }

    /// The reply to pass on.
    async fn read(&self, ticket: &Ticket, turn: Turn, answer: reqwest::Response) -> Result<Reply, Miss> {
        let status = StatusCode::from_u16(answer.status().as_u16()).map_err(|_| unreadable())?;
        let received = answer.headers().clone();
        let mut headers = forward::passed_on(&received);
        let mut content = content::raw(answer, self.patience);
        match content::encodings(&received) {
            Some(encodings) if encodings.is_empty() => {}
            Some(encodings) => content = content::decoded(content, &encodings),
            // The client may know it.
            None => forward::pass_on(&received, CONTENT_ENCODING.as_str(), &mut headers),
        }
        let facts = UpstreamFacts {
            name: self.name.clone(),
            status: Some(status.as_u16()),
            request: failure::request_id(&received).map(str::to_owned),
        };
        ticket.set_upstream(facts);
        let becomes = Treatment::of_status(status.as_u16());
        if becomes == Treatment::PassOn {
            let body = Body::Stream(content::passed_on(content, ticket.clone()));
            return Ok(Reply { status, headers, body });
        }
        let (bytes, is_whole) = content::beginning(&mut content, MAX_ERROR.0, MAX_ERROR.1).await;
        if becomes == Treatment::ReadFirst && is_whole && treatment::is_about_request(&bytes) {
            return Ok(Reply { status, headers, body: Body::Whole(bytes.into()) });
        }
        let message = failure::message(&bytes, self.key.as_ref());
        if turn == Turn::NotLast && turn::is_replaceable(status.as_u16()) {
            failure::log(ticket, turn::EVENT, &message);
            return Err(Miss::TryNext(format!("status {}", status.as_u16())));
        }
        failure::report(ticket, "the upstream returned an error", &message);
        if becomes != Treatment::PassOnAsFailure {
            return Err(becomes.problem(status.as_u16(), &received).into());
        }
        let beginning = stream::iter([Ok(Bytes::from(bytes))]);
        let content = Box::pin(beginning.chain(content));
        Ok(Reply { status, headers, body: Body::Stream(content::passed_on(content, ticket.clone())) })
    }
}

/// A client for the upstream. `patience` is how long it may stay silent.
fn client(options: &ClientOptions) -> Result<reqwest::Client, reqwest::Error> {
    let builder =
        options.outbound.client().connect_timeout(CONNECT_TIMEOUT).read_timeout(options.patience.time);
    builder.tcp_nodelay(true).build()
}

/// The client of this thread: using another thread's connection would wake that thread for every part of a
/// response, which costs more than the part itself.
fn own(clients: &[reqwest::Client]) -> &reqwest::Client {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = THREADS.fetch_add(1, Relaxed);
    }
    &clients[PLACE.with(|place| *place) % clients.len()]
}
