//! `GET /v1/models`, `GET /v1/inference` and `POST /v1/inference`: one prompt, one response, whole or
//! streamed.

use std::collections::VecDeque;

use actix_web::HttpResponse;
use actix_web::http::header::HeaderName;
use actix_web::web::{Bytes, Data};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::error::{Error, FieldError};
use crate::gateway::reply::{Body, Interruption, Parts, Reply, Route, unbuffered, unreadable};
use crate::gateway::sse::{self, Parser, event};
use crate::gateway::tokens::{self, TokenCounter};
use crate::gateway::upstream::forward::Forwarded;
use crate::gateway::upstream::{MAX_READ, Upstream};
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
    upstream: Data<Upstream>,
    ticket: Ticket,
    forwarded: Forwarded,
) -> Result<HttpResponse, Problem> {
    let list = watch::answer(&ticket, upstream.models(&ticket, &forwarded, Time::now())).await?;
    Ok(HttpResponse::Ok().json(list))
}

/// `POST /v1/inference`.
pub async fn infer(
    upstream: Data<Upstream>,
    ticket: Ticket,
    forwarded: Forwarded,
    Json { value, bytes }: Json<InferenceBody>,
) -> Result<HttpResponse, Problem> {
    // Prompts may be large, so each copy of one is dropped as soon as the next exists.
    drop(bytes);
    let mut body = value.check()?;
    ticket.set_model(body.model.trim());
    let request = Bytes::from(body.as_chat());
    body.prompt = String::new();
    let call = upstream.call(Route::Chat, request.clone(), &ticket, &forwarded, Time::now());
    let reply = watch::answer(&ticket, call).await?;
    if !reply.status.is_success() {
        return Err(refused(reply).await);
    }
    let is_event_stream = reply.is_event_stream();
    match reply.body {
        Body::Stream(parts) if is_event_stream => {
            let mut response = HttpResponse::Ok();
            unbuffered(&mut response);
            let parts = watch::parts(ticket.clone(), parts);
            let answer = translate(parts, TokenCounter::new(ticket, &request));
            Ok(response.content_type("text/event-stream").streaming(answer))
        }
        whole => {
            let bytes = watch::answer(&ticket, whole.collect(MAX_READ)).await?;
            let tokens = tokens::of_response(&request, &bytes);
            ticket.set_tokens(tokens);
            let chat = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
            Ok(HttpResponse::Ok().json(body.answer(&chat, tokens)?))
        }
    }
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
            #[serde(skip_serializing_if = "Option::is_none")]
            stream_options: Option<Value>,
        }
        #[derive(Serialize)]
        struct Message<'a> {
            role: &'a str,
            content: &'a str,
        }
        let stream = self.stream.filter(|stream| *stream);
        let chat = Chat {
            model: self.model.trim(),
            messages: [Message { role: "user", content: &self.prompt }],
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            stream,
            stream_options: stream.map(|_| json!({"include_usage": true})),
        };
        // Only a map with non-string keys could fail.
        serde_json::to_string(&chat).unwrap_or_default()
    }

    fn answer<'a>(&'a self, chat: &'a Value, tokens: Tokens) -> Result<InferenceAnswer<'a>, Problem> {
        let id = chat["id"].as_str().ok_or_else(unreadable)?;
        let choice = chat["choices"].get(0).ok_or_else(unreadable)?;
        let output = choice["message"]["content"].as_str().unwrap_or_default();
        let model = chat["model"].as_str().unwrap_or(&self.model);
        Ok(InferenceAnswer { id, model, output, usage: usage(tokens) })
    }
}

fn usage(tokens: Tokens) -> TokenUsage {
    TokenUsage { input_tokens: tokens.input, output_tokens: tokens.output }
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

/// The state of translating a stream of chat chunks into Keydesk's form.
struct Translation {
    events: Parts,
    parser: Parser,
    counter: TokenCounter,
    ready: VecDeque<String>,
    ended: bool,
}

/// Turns chunks into `{"delta": …}`, then `{"usage": …}` and `[DONE]`, each as soon as it arrives. A failure
/// midway is reported as `{"error": …}` and ends the stream.
fn translate(events: Parts, counter: TokenCounter) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let start =
        Translation { events, parser: Parser::default(), counter, ready: VecDeque::new(), ended: false };
    stream::unfold(start, |mut state| async move {
        loop {
            if let Some(text) = state.ready.pop_front() {
                return Some((Ok(Bytes::from(text)), state));
            }
            if state.ended {
                return None;
            }
            match state.events.next().await {
                Some(Ok(bytes)) => state.take(&bytes),
                Some(Err(Interruption::Upstream(break_off))) => {
                    break_off.report();
                    state.fail();
                }
                Some(Err(Interruption::KeyRefused(problem))) => state.refuse(&problem),
                Some(Err(Interruption::Stopping(problem))) => {
                    state.counter.record_break();
                    state.refuse(&problem);
                }
                None => state.end(),
            }
        }
    })
}

impl Translation {
    fn take(&mut self, bytes: &[u8]) {
        for data in self.parser.feed(bytes) {
            // No chat event is this long, so it can't be translated.
            let sse::Data::Whole(data) = data else { return self.fail() };
            if data == "[DONE]" {
                return self.end();
            }
            let Ok(chunk) = serde_json::from_str::<Value>(&data) else { return self.fail() };
            self.counter.read(&chunk);
            if let Some(delta) =
                chunk["choices"][0]["delta"]["content"].as_str().filter(|delta| !delta.is_empty())
            {
                self.ready.push_back(event(&json!({ "delta": delta }).to_string()));
            }
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.ready.push_back(event(&json!({ "usage": usage(self.counter.tokens()) }).to_string()));
        self.ready.push_back(event("[DONE]"));
    }

    /// Ends the stream because the key stopped working, which is not the upstream's fault.
    fn refuse(&mut self, problem: &Problem) {
        self.ended = true;
        let error = json!({"code": problem.code.name(), "message": problem.detail});
        self.ready.push_back(event(&json!({ "error": error }).to_string()));
    }

    fn fail(&mut self) {
        self.ended = true;
        self.counter.record_break();
        let error =
            json!({"code": Code::UpstreamError.name(), "message": "The upstream broke off its response."});
        self.ready.push_back(event(&json!({ "error": error }).to_string()));
    }
}
