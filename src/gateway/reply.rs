//! Routes of the OpenAI-compatible API, and the answers of an upstream.

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
    /// All routes, in their order.
    pub const ALL: [Route; 4] = [Route::Chat, Route::Completions, Route::Embeddings, Route::Responses];

    /// Its path behind the base URL.
    pub fn path(self) -> &'static str {
        match self {
            Route::Chat => "/chat/completions",
            Route::Completions => "/completions",
            Route::Embeddings => "/embeddings",
            Route::Responses => "/responses",
        }
    }
}

/// The upstream's answer: a success, or an error that the client can fix.
pub struct Reply {
    /// The status: 200 to 299, or 400 to 499 but for 401 and 403.
    pub status: u16,
    /// The media type.
    pub content_type: String,
    /// When to try again, for a refusal.
    pub retry_after: Option<String>,
    /// The bytes.
    pub body: Body,
}

/// The bytes of an answer.
pub enum Body {
    /// All of them.
    Whole(Bytes),
    /// Events as they come. Dropping it ends the call upstream.
    Events(Events),
}

/// Bytes of server-sent events, as they come.
pub type Events = Pin<Box<dyn Stream<Item = Result<Bytes, Interruption>>>>;

/// Why a stream of events ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The upstream broke off.
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
    /// The answer to a client that has not received anything yet.
    pub fn into_problem(self) -> Problem {
        match self {
            Interruption::Upstream(_) => unreadable(),
            Interruption::KeyRefused(problem) | Interruption::Stopping(problem) => problem,
        }
    }
}

impl Reply {
    /// A whole answer in JSON.
    pub fn of_json(value: &Value) -> Reply {
        let body = Body::Whole(value.to_string().into());
        Reply { status: 200, content_type: "application/json".to_owned(), retry_after: None, body }
    }

    /// The JSON of a whole answer.
    pub fn json(&self) -> Result<Value, Problem> {
        match &self.body {
            Body::Whole(bytes) => serde_json::from_slice(bytes).map_err(|_| unreadable()),
            Body::Events(_) => Err(unreadable()),
        }
    }
}

/// The problem of an answer that can't be read.
pub fn unreadable() -> Problem {
    Problem::new(Code::UpstreamError, "The upstream's answer can't be read.")
}
