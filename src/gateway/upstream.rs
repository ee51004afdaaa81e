//! Where inference goes: any OpenAI-compatible server, or a built-in echo for trying out.
//!
//! The upstream comes from the configuration alone, is never redirected, and sees its own
//! credential, never the caller's. What it answers is taken apart; its headers stay here.

use std::time::Duration;

use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::InferenceId;
use crate::time::Time;
use crate::web::problem::{Code, Problem};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
const MAX_ANSWER: u64 = 32 * 1024 * 1024;
/// About how many characters make a token, where nobody counts them better.
const CHARACTERS_PER_TOKEN: usize = 4;
const ECHO: &str = "echo";

/// Where inference goes.
pub enum Upstream {
    /// Nowhere: the prompt comes back, with a word that this is for trying out.
    Echo,
    /// An OpenAI-compatible server.
    Server {
        /// The client, with its connections.
        client: reqwest::Client,
        /// The base URL, without a slash at its end.
        url: String,
        /// The credential.
        key: Option<SecretString>,
    },
}

/// A call of `POST /v1/inference`, checked.
pub struct Call {
    /// The model's name.
    pub model: String,
    /// What is asked.
    pub prompt: String,
    /// The most tokens to answer with.
    pub max_tokens: Option<u32>,
    /// How freely to answer.
    pub temperature: Option<f64>,
}

/// What `POST /v1/inference` answers.
#[derive(Serialize)]
pub struct Answer {
    /// The answer's id.
    pub id: String,
    /// The model that answered.
    pub model: String,
    /// What it said.
    pub output: String,
    /// What it took.
    pub usage: Usage,
}

/// Tokens in and out.
#[derive(Serialize)]
pub struct Usage {
    /// Of the prompt.
    pub input_tokens: u64,
    /// Of the answer.
    pub output_tokens: u64,
}

impl Upstream {
    /// The server at `url`, or the echo.
    pub fn new(url: Option<String>, key: Option<SecretString>) -> Result<Upstream, reqwest::Error> {
        let Some(url) = url else {
            return Ok(Upstream::Echo);
        };
        // Whoever installs the process's provider first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Upstream::Server { client, url, key })
    }

    /// Lists what can be called, as OpenAI's `GET /models` does.
    pub async fn models(&self, now: Time) -> Result<Value, Problem> {
        match self {
            Upstream::Echo => Ok(serde_json::json!({
                "object": "list",
                "data": [{"id": ECHO, "object": "model", "created": now.seconds(), "owned_by": "keydesk"}],
            })),
            Upstream::Server { client, url, .. } => {
                let answer = self.send(client.get(format!("{url}/models"))).await?;
                let list: ModelList = read(answer).await?;
                Ok(serde_json::json!({ "object": "list", "data": list.data }))
            }
        }
    }

    /// Answers a call.
    pub async fn infer(&self, call: &Call, now: Time) -> Result<Answer, Problem> {
        match self {
            Upstream::Echo => Ok(echo(call, now)),
            Upstream::Server { client, url, .. } => {
                let request = ChatRequest {
                    model: &call.model,
                    messages: [Message { role: "user", content: &call.prompt }],
                    max_tokens: call.max_tokens,
                    temperature: call.temperature,
                };
                let answer = self.send(client.post(format!("{url}/chat/completions")).json(&request)).await?;
                let chat: ChatAnswer = read(answer).await?;
                chat.into_answer(call)
            }
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Problem> {
        let request = match self {
            Upstream::Server { key: Some(key), .. } => {
                request.header(AUTHORIZATION, format!("Bearer {}", key.expose_secret()))
            }
            _ => request,
        };
        let answer = request.send().await.map_err(|error| {
            let error = error.without_url();
            tracing::warn!(%error, "the upstream can't be reached");
            Problem::new(Code::UpstreamError, "The upstream could not be reached or did not answer in time.")
        })?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => Ok(answer),
            404 => Err(Problem::new(
                Code::ModelNotFound,
                "The upstream knows no such model. `GET /v1/models` lists what there is.",
            )),
            400 | 422 => Err(Problem::new(Code::ValidationFailed, upstream_words(answer).await)),
            429 | 503 => {
                let wait =
                    answer.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let wait = wait.and_then(|text| text.parse::<u32>().ok()).unwrap_or(1).to_string();
                Err(Problem::new(Code::Unavailable, "The upstream is busy. Try again later.")
                    .with_header(actix_web::http::header::RETRY_AFTER, wait))
            }
            _ => {
                tracing::warn!(status, "the upstream refused a call");
                Err(Problem::new(Code::UpstreamError, "The upstream did not answer the call well."))
            }
        }
    }
}

fn echo(call: &Call, now: Time) -> Answer {
    let output = format!(
        "This is Keydesk's built-in echo, for trying out; no model was called. You said: {}",
        call.prompt
    );
    let most = call.max_tokens.map_or(usize::MAX, |tokens| tokens as usize * CHARACTERS_PER_TOKEN);
    let output: String = output.chars().take(most).collect();
    Answer {
        id: InferenceId::new(now).to_string(),
        model: call.model.clone(),
        usage: Usage { input_tokens: estimate(&call.prompt), output_tokens: estimate(&output) },
        output,
    }
}

fn estimate(text: &str) -> u64 {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN) as u64
}

async fn read<T: for<'de> Deserialize<'de>>(answer: reqwest::Response) -> Result<T, Problem> {
    let unreadable = || Problem::new(Code::UpstreamError, "The upstream's answer can't be read.");
    if answer.content_length().is_some_and(|length| length > MAX_ANSWER) {
        return Err(unreadable());
    }
    answer.json().await.map_err(|error| {
        let error = error.without_url();
        tracing::warn!(%error, "the upstream's answer can't be read");
        unreadable()
    })
}

/// What the upstream says is wrong with a call, cut short, since it is the caller's to mend.
async fn upstream_words(answer: reqwest::Response) -> String {
    let body: Option<Value> = answer.json().await.ok();
    let words = body.as_ref().and_then(|body| body["error"]["message"].as_str()).unwrap_or_default();
    let words: String = words.chars().filter(|letter| !letter.is_control()).take(300).collect();
    if words.is_empty() {
        "The upstream refused the call.".to_owned()
    } else {
        format!("The upstream refused the call: {words}")
    }
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    model: &'a str,
    messages: [Message<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'a str,
    content: &'a str,
}

#[derive(Deserialize)]
struct ChatAnswer {
    id: String,
    model: Option<String>,
    choices: Vec<Choice>,
    usage: Option<ChatUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: ChoiceMessage,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    content: Option<String>,
}

#[derive(Deserialize)]
struct ChatUsage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct ModelList {
    data: Vec<Value>,
}

impl ChatAnswer {
    fn into_answer(self, call: &Call) -> Result<Answer, Problem> {
        let choice = self.choices.into_iter().next();
        let output = choice.and_then(|choice| choice.message.content).unwrap_or_default();
        let usage = self.usage.map_or_else(
            || Usage { input_tokens: estimate(&call.prompt), output_tokens: estimate(&output) },
            |usage| Usage { input_tokens: usage.prompt_tokens, output_tokens: usage.completion_tokens },
        );
        Ok(Answer { id: self.id, model: self.model.unwrap_or_else(|| call.model.clone()), output, usage })
    }
}
