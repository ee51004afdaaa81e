//! The routes and replies of an OpenAI-compatible server.

use std::pin::Pin;

use actix_web::web::Bytes;
use futures_util::Stream;
use serde_json::Value;

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
    /// 200 to 299, or 400 to 499 except 401 and 403.
    pub status: u16,
    pub content_type: String,
    pub retry_after: Option<String>,
    pub body: Body,
}

/// The body of a response.
pub enum Body {
    Whole(Bytes),
    /// A stream of events. Dropping it cancels the request upstream.
    Events(Events),
}

/// The bytes of server-sent events.
pub type Events = Pin<Box<dyn Stream<Item = Result<Bytes, Interruption>>>>;

/// Why a stream of events was cut short.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    #[error("the upstream broke off: {0}")]
    Upstream(#[from] reqwest::Error),
    /// The key stopped working.
    #[error("{0}")]
    KeyRefused(Problem),
    /// The process is about to stop.
    #[error("{0}")]
    Stopping(Problem),
}

impl Interruption {
    /// The problem to send to a client that has not received anything yet.
    pub fn into_problem(self) -> Problem {
        match self {
            Interruption::Upstream(_) => unreadable(),
            Interruption::KeyRefused(problem) | Interruption::Stopping(problem) => problem,
        }
    }
}

impl Reply {
    /// A whole response with JSON content.
    pub fn of_json(value: &Value) -> Reply {
        let body = Body::Whole(value.to_string().into());
        Reply { status: 200, content_type: "application/json".to_owned(), retry_after: None, body }
    }

    /// The JSON content of a whole response.
    pub fn json(&self) -> Result<Value, Problem> {
        match &self.body {
            Body::Whole(bytes) => serde_json::from_slice(bytes).map_err(|_| unreadable()),
            Body::Events(_) => Err(unreadable()),
        }
    }
}

/// The problem for an invalid response.
pub fn unreadable() -> Problem {
    Problem::new(Code::UpstreamError, "The upstream's response can't be read.")
}
