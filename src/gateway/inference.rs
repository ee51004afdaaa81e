//! `GET /v1/models`, `GET /v1/inference` and `POST /v1/inference`: one prompt, one response, whole or
//! streamed.

use actix_web::HttpResponse;
use actix_web::http::header::HeaderName;
use actix_web::web::{Data, Path};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, FieldError};
use crate::gateway::observer::Observer;
use crate::gateway::off_thread::off_thread;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::protocol::Protocol;
use crate::gateway::reply::{Body, Reply, Route, unbuffered, unreadable};
use crate::gateway::router::Router;
use crate::gateway::tokens::{Member, Scanner, TokenCounter};
use crate::gateway::translation::translate;
use crate::gateway::upstream::MAX_READ;
use crate::gateway::upstream::failure;
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::watch;
use crate::text::one_line;
use crate::time::Time;
use crate::usage::call::Tokens;
use crate::web::body::Json;
use crate::web::problem::{Code, Problem};
use crate::web::ticket::Ticket;

const MAX_MODEL: usize = 200;
const MAX_TOKENS: i64 = 10_000_000;
/// The longest refusal of the upstream whose message is quoted, in bytes.
const MAX_REFUSAL: usize = 64 * 1024;

/// A prompt.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InferenceBody {
    /// A model from `GET /v1/models`.
    #[schema(min_length = 1)]
    model: String,
    /// The prompt.
    #[schema(min_length = 1)]
    prompt: String,
    /// The maximum number of output tokens.
    #[schema(minimum = 1, maximum = 10_000_000)]
    max_tokens: Option<i64>,
    /// The sampling temperature.
    #[schema(minimum = 0, maximum = 2)]
    temperature: Option<f64>,
    /// Whether to stream the response as server-sent events.
    stream: Option<bool>,
}

/// A response.
#[derive(Serialize, ToSchema)]
pub struct InferenceAnswer<'a> {
    /// The model server's id of the response.
    id: &'a str,
    /// The model that responded.
    model: &'a str,
    /// The model's output.
    output: &'a str,
    /// The tokens used.
    usage: TokenUsage,
}

/// The tokens of one request.
#[derive(Serialize, ToSchema)]
struct TokenUsage {
    /// Tokens of the prompt.
    input_tokens: u64,
    /// Tokens of the output.
    output_tokens: u64,
}

/// `GET /v1/models` and `GET /v1/inference`: the models that can be called.
pub async fn models(
    router: Data<Router>,
    ticket: Ticket,
    forwarded: Forwarded,
) -> Result<HttpResponse, Problem> {
    let list = watch::answer(&ticket, router.models(&ticket, &forwarded, Time::now())).await?;
    Ok(HttpResponse::Ok().json(list))
}

/// `GET /v1/models/{id}`: one model.
pub async fn model(
    router: Data<Router>,
    ticket: Ticket,
    forwarded: Forwarded,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let model = watch::answer(&ticket, router.model(&id, &ticket, &forwarded, Time::now())).await?;
    Ok(HttpResponse::Ok().json(model))
}

/// `POST /v1/inference`.
pub async fn infer(
    router: Data<Router>,
    ticket: Ticket,
    forwarded: Forwarded,
    Json { value, bytes }: Json<InferenceBody>,
) -> Result<HttpResponse, Problem> {
    // Prompts may be large, so each copy of one is dropped as soon as the next exists.
    drop(bytes);
    let mut body = value.check()?;
    ticket.set_model(body.model.trim());
    let is_stream = body.stream == Some(true);
    let mut request = Outgoing::new(Protocol::Chunks, is_stream, body.as_chat().into()).await;
    body.prompt = String::new();
    let reply = request.send(&router, Route::Chat, &ticket, &forwarded).await?;
    if !reply.status.is_success() {
        return Err(refused(reply).await);
    }
    let counter = TokenCounter::new(ticket.clone(), request.tokens);
    let is_event_stream = reply.is_event_stream();
    match reply.body {
        Body::Stream(parts) if is_event_stream => {
            let mut response = HttpResponse::Ok();
            unbuffered(&mut response);
            let observer = Observer::new(Protocol::Chunks, false, counter);
            let events = translate(watch::parts(ticket, parts), observer);
            Ok(response.content_type("text/event-stream").streaming(events))
        }
        whole => {
            let bytes = watch::answer(&ticket, whole.collect(MAX_READ)).await?;
            let text = bytes.clone();
            let read = off_thread(bytes.len(), move || {
                let mut scanner = Scanner::new(Member::Response);
                scanner.feed(&text);
                (scanner.into_facts(), serde_json::from_slice::<ChatAnswer>(&text))
            });
            let (facts, chat) = read.await.ok_or_else(unreadable)?;
            if let Some(error) = Protocol::Chunks.error("", &[], &facts) {
                failure::report(&ticket, "the upstream reported an error", &error.message());
                return Err(error.problem());
            }
            let tokens = counter.finish(&facts);
            Ok(HttpResponse::Ok().json(body.answer(&chat.map_err(|_| unreadable())?, tokens)?))
        }
    }
}

/// The members of a chat completion that are translated.
#[derive(Deserialize)]
struct ChatAnswer {
    id: String,
    model: Option<String>,
    choices: Vec<ChatChoice>,
}

#[derive(Deserialize)]
struct ChatChoice {
    message: ChatMessage,
}

#[derive(Deserialize)]
struct ChatMessage {
    content: Option<String>,
}

impl InferenceBody {
    fn check(self) -> Result<InferenceBody, Error> {
        let mut errors = Vec::new();
        let mut complain = |field, message: &str| errors.push(FieldError::new(field, message));
        let model = self.model.trim();
        if model.is_empty() || model.len() > MAX_MODEL || model.chars().any(char::is_control) {
            complain("model", "Choose a model from `GET /v1/models`.");
        }
        if self.prompt.trim().is_empty() {
            complain("prompt", "Enter a prompt.");
        }
        if self.max_tokens.is_some_and(|tokens| !(1..=MAX_TOKENS).contains(&tokens)) {
            complain("max_tokens", "Use a number from 1 to 10,000,000.");
        }
        if self.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
            complain("temperature", "Use a number from 0 to 2.");
        }
        if errors.is_empty() { Ok(self) } else { Err(Error::Invalid(errors)) }
    }

    /// The request as one chat message.
    fn as_chat(&self) -> String {
        #[derive(Serialize)]
        struct Chat<'a> {
            model: &'a str,
            messages: [Message<'a>; 1],
            #[serde(skip_serializing_if = "Option::is_none")]
            max_tokens: Option<i64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            temperature: Option<f64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            stream: Option<bool>,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            role: &'a str,
            content: &'a str,
        }
        let chat = Chat {
            model: self.model.trim(),
            messages: [Message { role: "user", content: &self.prompt }],
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            stream: self.stream.filter(|stream| *stream),
        };
        // Only a map with non-string keys could fail.
        serde_json::to_string(&chat).unwrap_or_default()
    }

    fn answer<'a>(&'a self, chat: &'a ChatAnswer, tokens: Tokens) -> Result<InferenceAnswer<'a>, Problem> {
        let choice = chat.choices.first().ok_or_else(unreadable)?;
        let output = choice.message.content.as_deref().unwrap_or_default();
        let model = chat.model.as_ref().unwrap_or(&self.model);
        let usage = TokenUsage { input_tokens: tokens.input, output_tokens: tokens.output };
        Ok(InferenceAnswer { id: &chat.id, model, output, usage })
    }
}

/// Translates a refusal by the upstream, quoting its message, since the client can correct the cause or wait.
async fn refused(reply: Reply) -> Problem {
    let Reply { status, headers, body } = reply;
    let said = match body.json(MAX_REFUSAL).await {
        Ok(said) => said["error"]["message"].as_str().map(|said| one_line(said, 300)).unwrap_or_default(),
        Err(_) => String::new(),
    };
    let detail = |what: &str| if said.is_empty() { format!("{what}.") } else { format!("{what}: {said}") };
    let (code, detail) = match status.as_u16() {
        404 => (
            Code::ModelNotFound,
            "The upstream has no such model. `GET /v1/models` lists the available ones.".to_owned(),
        ),
        403 => (Code::ModelNotAllowed, detail("The upstream does not allow this model or prompt")),
        409 => (Code::Conflict, detail("The upstream refused the request")),
        413 => (Code::PayloadTooLarge, detail("The request is too large for the upstream")),
        429 => (Code::RateLimited, detail("A limit of the upstream was reached, not of this key")),
        _ => (Code::ValidationFailed, detail("The upstream refused the request")),
    };
    let problem = Problem::new(code, detail);
    ["retry-after", "retry-after-ms", "x-should-retry"].iter().fold(problem, |problem, name| {
        match headers.get(*name).and_then(|value| value.to_str().ok()) {
            Some(value) => problem.with_header(HeaderName::from_static(name), value),
            None => problem,
        }
    })
}
