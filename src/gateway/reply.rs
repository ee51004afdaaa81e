//! The routes and replies of an OpenAI-compatible server.

use std::pin::Pin;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpResponse, HttpResponseBuilder};
use futures_util::{Stream, StreamExt};
use serde_json::Value;

use crate::gateway::upstream::failure::BreakOff;
use crate::web::problem::{Code, Problem};

/// A route of the OpenAI-compatible API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `POST /chat/completions`.
    Chat,
    /// `POST /completions`.
    Completions,
    /// `POST /embeddings`.
    Embeddings,
    /// `POST /responses`.
    Responses,
}

impl Route {
    /// In the order of the discriminants.
    pub const ALL: [Route; 4] = [Route::Chat, Route::Completions, Route::Embeddings, Route::Responses];

    /// The path after the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Route::Chat => "/chat/completions",
            Route::Completions => "/completions",
            Route::Embeddings => "/embeddings",
            Route::Responses => "/responses",
        }
    }
}

/// The upstream's response: a success, or a refusal whose cause the client can fix.
pub struct Reply {
    pub status: StatusCode,
    /// The headers that are passed on to the client; no header about framing or encoding.
    pub headers: HeaderMap,
    pub body: Body,
}

/// The content of a response, without any content encoding.
pub enum Body {
    /// Content that is complete, from the echo.
    Whole(Bytes),
    /// Content of any size and kind, such as events, passed on as it arrives. Dropping it cancels the request
    /// upstream.
    Stream(Parts),
}

/// The parts of a response's content, as they arrive.
pub type Parts = Pin<Box<dyn Stream<Item = Result<Bytes, Interruption>>>>;

/// Why a response was cut short.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The upstream failed. It is reported where the response is passed on, unless the client has all that it needs.
    #[error("the upstream broke off: {0}")]
    Upstream(BreakOff),
    /// The key stopped working.
    #[error("{0}")]
    KeyRefused(Problem),
    /// The process is about to stop.
    #[error("{0}")]
    Stopping(Problem),
}

impl Interruption {
    /// The problem to send to a client that has not received anything yet. Reports a failure of the upstream.
    pub fn into_problem(self) -> Problem {
        match self {
            Interruption::Upstream(break_off) => {
                break_off.report();
                break_off.problem()
            }
            Interruption::KeyRefused(problem) | Interruption::Stopping(problem) => problem,
        }
    }
}

impl Reply {
    /// A whole response with JSON content.
    pub fn of_json(value: &Value) -> Reply {
        Reply::ok(HeaderValue::from_static("application/json"), Body::Whole(value.to_string().into()))
    }

    /// A success.
    pub fn ok(content_type: HeaderValue, body: Body) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        Reply { status: StatusCode::OK, headers, body }
    }

    /// Whether the content is a stream of events. Media types ignore case (RFC 9110 section 8.3.1).
    pub fn is_event_stream(&self) -> bool {
        let value = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("text/event-stream")
    }

    /// The beginning of a response to the client, with status and headers.
    pub fn begin(&self) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status);
        for header in &self.headers {
            response.append_header(header);
        }
        if self.is_event_stream() {
            unbuffered(&mut response);
        }
        response
    }
}

/// Keeps proxies from buffering events. This process compresses no response of a gateway route.
pub fn unbuffered(response: &mut HttpResponseBuilder) {
    response.insert_header(("X-Accel-Buffering", "no"));
}

impl Body {
    /// Reads the whole content. Errors: it is longer than `most` bytes, or was cut short.
    pub async fn collect(self, most: usize) -> Result<Bytes, Problem> {
        let mut parts = match self {
            Body::Whole(bytes) => return Ok(bytes),
            Body::Stream(parts) => parts,
        };
        let mut bytes = Vec::new();
        while let Some(part) = parts.next().await {
            let part = part.map_err(Interruption::into_problem)?;
            if bytes.len() + part.len() > most {
                return Err(unreadable());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.into())
    }

    /// Reads the whole content as JSON. Errors: those of [`Body::collect`], or it is not JSON.
    pub async fn json(self, most: usize) -> Result<Value, Problem> {
        serde_json::from_slice(&self.collect(most).await?).map_err(|_| unreadable())
    }
}

/// The problem for an invalid response, which would be paid for again.
pub fn unreadable() -> Problem {
    Problem::new(Code::UpstreamError, "The upstream's response can't be read.").without_retry()
}
