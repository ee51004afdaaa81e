//! The destination of inference requests: an OpenAI-compatible server, or the built-in echo.
//!
//! The upstream comes only from the configuration, is never redirected, and receives its own credential,
//! never the client's. Of its response headers, only the content type and `Retry-After` are passed on.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::Bytes;
use futures_util::StreamExt;
use reqwest::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::gateway::echo;
use crate::gateway::reply::{Body, Reply, Route, unreadable};
use crate::time::Time;
use crate::web::problem::{Code, Problem};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the upstream may stay silent, before its response and within a stream.
const SILENCE: Duration = Duration::from_secs(120);
const MAX_RESPONSE: usize = 32 * 1024 * 1024;

/// The destination of inference requests.
pub enum Upstream {
    /// The built-in echo.
    Echo,
    /// An OpenAI-compatible server.
    Server {
        /// A client with its own connections for each server thread.
        clients: Vec<reqwest::Client>,
        /// The URL of the model list.
        models: Url,
        /// The URLs of the routes, in the order of [`Route`].
        routes: Box<[Url; 4]>,
        /// The upstream's credential.
        key: Option<SecretString>,
    },
}

impl Upstream {
    /// The server at `url`, or the echo, for this number of server threads.
    pub fn new(
        url: Option<String>,
        key: Option<SecretString>,
        threads: usize,
    ) -> Result<Upstream, reqwest::Error> {
        let Some(url) = url else { return Ok(Upstream::Echo) };
        // If another part has installed a provider first, it is the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |_| {
            reqwest::Client::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(SILENCE)
                .redirect(reqwest::redirect::Policy::none())
                .tcp_nodelay(true)
                .no_proxy()
                .build()
        };
        let clients = (0..threads.max(1)).map(client).collect::<Result<Vec<_>, _>>()?;
        // Parsed once, because parsing takes longer than checking a key.
        let address = |path: &str| Ok(clients[0].get(format!("{url}{path}")).build()?.url().clone());
        let models = address("/models")?;
        let [chat, completions, embeddings, responses] = Route::ALL.map(|route| address(route.path()));
        let routes = Box::new([chat?, completions?, embeddings?, responses?]);
        Ok(Upstream::Server { clients, models, routes, key })
    }

    /// Lists the models, as OpenAI's `GET /models` does.
    pub async fn models(&self, now: Time) -> Result<Value, Problem> {
        let Upstream::Server { clients, models, .. } = self else { return Ok(echo::models(now)) };
        let reply = self.send(|| own(clients).get(models.clone())).await?;
        let list: Value = reply.json()?;
        match list["data"].as_array() {
            Some(data) if reply.status < 400 => Ok(serde_json::json!({ "object": "list", "data": data })),
            _ => Err(unreadable()),
        }
    }

    /// Sends a request with this body, unchanged.
    pub async fn call(&self, route: Route, body: Bytes, now: Time) -> Result<Reply, Problem> {
        let Upstream::Server { clients, routes, .. } = self else {
            return echo::answer(route, &body, now);
        };
        let request = || {
            own(clients)
                .post(routes[route as usize].clone())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .header(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"))
                .body(body.clone())
        };
        self.send(request).await
    }

    async fn send(&self, request: impl Fn() -> reqwest::RequestBuilder) -> Result<Reply, Problem> {
        let attempt = || match self {
            Upstream::Server { key: Some(key), .. } => {
                request().header(AUTHORIZATION, format!("Bearer {}", key.expose_secret())).send()
            }
            _ => request().send(),
        };
        let answer = match attempt().await {
            // A failed connection did no work, so only this is retried.
            Err(error) if error.is_connect() => attempt().await,
            answer => answer,
        };
        let answer = answer.map_err(|error| {
            let error = error.without_url();
            tracing::warn!(%error, "the upstream is unreachable");
            Problem::new(Code::UpstreamError, "The upstream is unreachable or did not respond in time.")
        })?;
        read(answer).await
    }
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

async fn read(answer: reqwest::Response) -> Result<Reply, Problem> {
    let status = answer.status().as_u16();
    let text = |name| answer.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let retry_after = text(RETRY_AFTER).filter(|wait| wait.parse::<u32>().is_ok()).map(str::to_owned);
    let content_type = text(CONTENT_TYPE).unwrap_or("application/json").to_owned();
    match status {
        // A response without content, such as 204 or 205, is invalid here, and its events would break the
        // framing of the connection.
        200..=203 | 400 | 402 | 404..=499 => {}
        503 => {
            let wait = retry_after.unwrap_or_else(|| "1".to_owned());
            let problem = Problem::new(Code::Unavailable, "The upstream is busy. Try again later.");
            return Err(problem.with_header(header::RETRY_AFTER, wait));
        }
        _ => {
            tracing::warn!(status, "the upstream returned an error");
            return Err(Problem::new(Code::UpstreamError, "The upstream returned an error."));
        }
    }
    if content_type.starts_with("text/event-stream") {
        let body = Body::Events(Box::pin(answer.bytes_stream().map(|part| Ok(part?))));
        return Ok(Reply { status, content_type, retry_after, body });
    }
    let mut stream = answer.bytes_stream();
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|_| unreadable())?;
        if bytes.len() + part.len() > MAX_RESPONSE {
            return Err(unreadable());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(Reply { status, content_type, retry_after, body: Body::Whole(bytes.into()) })
}
