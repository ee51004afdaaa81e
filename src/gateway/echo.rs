//! The built-in echo: an OpenAI-compatible server that calls no model, for trying Keydesk out.

use actix_web::http::header::HeaderValue;
use actix_web::web::Bytes;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde_json::{Value, json};

use crate::crypto::sha256;
use crate::gateway::event_stream::event;
use crate::gateway::reply::{Body, Reply, Route};
use crate::gateway::tokens::{CHARACTERS_PER_TOKEN, estimate};
use crate::id::InferenceId;
use crate::time::Time;
use crate::web::problem::{Code, Problem};

const ECHO: &str = "echo";
const PREFIX: &str = "This is Keydesk's built-in echo, for trying out; no model was called. You said:";
/// The dimensions of an echoed embedding.
const DIMENSIONS: usize = 8;

/// The model list: only the echo.
pub fn models(now: Time) -> Value {
    json!({
        "object": "list",
        "data": [{"id": ECHO, "object": "model", "created": now.seconds(), "owned_by": "keydesk"}],
    })
}

/// The maximum number of JSON values in a request: parsed here, each takes many times its text in memory,
/// while a model server gets the text unparsed.
const MOST_VALUES: usize = 100_000;

/// The maximum number of texts in one embeddings request, as at OpenAI.
const MOST_INPUTS: usize = 2048;
/// The maximum number of tokens in a response.
const MOST_TOKENS: usize = 4096;
/// The maximum number of parts in a streamed response.
const MOST_PARTS: usize = 512;

/// The approximate number of values in a JSON text.
fn values(json: &[u8]) -> usize {
    let (mut count, mut in_text, mut escaped) = (1, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'[' | b'{' if !in_text => count += 1,
            _ => {}
        }
    }
    count
}

/// Answers a request.
pub fn answer(route: Route, body: &[u8], now: Time) -> Result<Reply, Problem> {
    if values(body) > MOST_VALUES {
        let detail = format!("The built-in echo accepts at most {MOST_VALUES} JSON values in a request.");
        return Err(Problem::new(Code::PayloadTooLarge, detail));
    }
    let request: Value =
        serde_json::from_slice(body).map_err(|_| Problem::bad_request("The body is not valid JSON."))?;
    if route == Route::Embeddings
        && request["input"].as_array().is_some_and(|texts| texts.len() > MOST_INPUTS)
    {
        let detail = format!("The built-in echo embeds at most {MOST_INPUTS} texts in a request.");
        return Err(Problem::bad_request(detail));
    }
    let prompt = match route {
        Route::Chat => last_message(&request["messages"]),
        Route::Completions => text_of(&request["prompt"]),
        Route::Embeddings => text_of(&request["input"]),
        Route::Responses => text_of(&request["input"]).or_else(|| last_message(&request["input"])),
    };
    let prompt = prompt
        .ok_or_else(|| Problem::bad_request("The request has no message, prompt or input. Send one."))?;
    let call = EchoRequest {
        id: InferenceId::new(now).to_string(),
        now,
        max_characters: max_characters(&request),
        prompt,
        request,
    };
    Ok(match (route, call.request["stream"].as_bool()) {
        (Route::Embeddings, _) => Reply::of_json(&call.embeddings()),
        (Route::Chat, Some(true)) => events(call.chat_events()),
        (Route::Chat, _) => Reply::of_json(&call.chat()),
        (Route::Completions, Some(true)) => events(call.completion_events()),
        (Route::Completions, _) => Reply::of_json(&call.completion()),
        (Route::Responses, Some(true)) => events(call.response_events()),
        (Route::Responses, _) => Reply::of_json(&call.response("completed")),
    })
}

struct EchoRequest {
    id: String,
    now: Time,
    /// The maximum number of characters in the response.
    max_characters: usize,
    prompt: String,
    request: Value,
}

impl EchoRequest {
    fn output(&self) -> String {
        PREFIX.chars().chain([' ']).chain(self.prompt.chars()).take(self.max_characters).collect()
    }

    /// The response in words, or in groups of words if there are many.
    fn words(&self) -> Vec<String> {
        let output = self.output();
        let words: Vec<&str> = output.split_inclusive(' ').collect();
        words.chunks(words.len().div_ceil(MOST_PARTS).max(1)).map(<[&str]>::concat).collect()
    }

    fn usage(&self) -> Value {
        let (input, output) = (estimate(&self.prompt), estimate(&self.output()));
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    fn head(&self, object: &str) -> Value {
        json!({"id": self.id, "object": object, "created": self.now.seconds(), "model": self.request["model"]})
    }

    fn with(&self, object: &str, members: Value) -> Value {
        let mut head = self.head(object);
        for (name, value) in members.as_object().into_iter().flatten() {
            head[name] = value.clone();
        }
        head
    }

    fn chat(&self) -> Value {
        let message = json!({"role": "assistant", "content": self.output()});
        let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
        self.with("chat.completion", json!({"choices": [choice], "usage": self.usage()}))
    }

    fn chat_events(&self) -> Vec<String> {
        let chunk = |delta: Value, end: Value| {
            let choice = json!({"index": 0, "delta": delta, "finish_reason": end});
            event(&self.with("chat.completion.chunk", json!({"choices": [choice]})).to_string())
        };
        let mut events = vec![chunk(json!({"role": "assistant", "content": ""}), Value::Null)];
        events.extend(self.words().iter().map(|word| chunk(json!({"content": word}), Value::Null)));
        events.push(chunk(json!({}), json!("stop")));
        events.extend(self.usage_event("chat.completion.chunk"));
        events.push(event("[DONE]"));
        events
    }

    /// The event with the usage, if the request includes it.
    fn usage_event(&self, object: &str) -> Option<String> {
        let last = || self.with(object, json!({"choices": [], "usage": self.usage()}));
        (self.request["stream_options"]["include_usage"] == true).then(|| event(&last().to_string()))
    }

    fn completion(&self) -> Value {
        let choice = json!({"index": 0, "text": self.output(), "logprobs": null, "finish_reason": "stop"});
        self.with("text_completion", json!({"choices": [choice], "usage": self.usage()}))
    }

    fn completion_events(&self) -> Vec<String> {
        let chunk = |text: &str, end: Value| {
            let choice = json!({"index": 0, "text": text, "logprobs": null, "finish_reason": end});
            event(&self.with("text_completion", json!({"choices": [choice]})).to_string())
        };
        let mut events: Vec<String> = self.words().iter().map(|word| chunk(word, Value::Null)).collect();
        events.push(chunk("", json!("stop")));
        events.extend(self.usage_event("text_completion"));
        events.push(event("[DONE]"));
        events
    }

    /// Meaningless numbers that are the same for the same text.
    fn embeddings(&self) -> Value {
        let inputs: Vec<String> = match &self.request["input"] {
            Value::Array(texts) => texts.iter().map(|text| text_of(text).unwrap_or_default()).collect(),
            _ => vec![self.prompt.clone()],
        };
        let data: Vec<Value> = inputs
            .iter()
            .enumerate()
            .map(|(index, text)| {
                let digest = sha256(text.as_bytes());
                let numbers: Vec<f32> =
                    digest[..DIMENSIONS].iter().map(|byte| f32::from(*byte) / 128.0 - 1.0).collect();
                let embedding =
                    if self.request["encoding_format"] == "base64" {
                        json!(STANDARD.encode(
                            numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>()
                        ))
                    } else {
                        json!(numbers)
                    };
                json!({"object": "embedding", "index": index, "embedding": embedding})
            })
            .collect();
        let tokens: u64 = inputs.iter().map(|text| estimate(text)).sum();
        json!({
            "object": "list", "data": data, "model": self.request["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        })
    }

    fn response(&self, status: &str) -> Value {
        let text = json!({"type": "output_text", "text": self.output(), "annotations": []});
        let message = json!({
            "type": "message", "id": format!("msg_{}", self.id), "role": "assistant", "status": "completed", "content": [text],
        });
        let (input, output) = (estimate(&self.prompt), estimate(&self.output()));
        json!({
            "id": self.id, "object": "response", "created_at": self.now.seconds(), "status": status,
            "model": self.request["model"], "output": if status == "completed" { json!([message]) } else { json!([]) },
            "parallel_tool_calls": false, "tool_choice": "auto", "tools": [], "error": null,
            "usage": {"input_tokens": input, "output_tokens": output, "total_tokens": input + output},
        })
    }

    fn response_events(&self) -> Vec<String> {
        let mut number = 0;
        let mut event = |kind: &str, members: Value| {
            let mut data = members;
            data["type"] = kind.into();
            data["sequence_number"] = number.into();
            number += 1;
            format!("event: {kind}\ndata: {data}\n\n")
        };
        let mut events = vec![event("response.created", json!({"response": self.response("in_progress")}))];
        let item = format!("msg_{}", self.id);
        for word in self.words() {
            let delta = json!({"item_id": item, "output_index": 0, "content_index": 0, "delta": word});
            events.push(event("response.output_text.delta", delta));
        }
        events.push(event("response.completed", json!({"response": self.response("completed")})));
        events
    }
}

fn events(events: Vec<String>) -> Reply {
    let parts = events.into_iter().map(|event| Ok(Bytes::from(event)));
    Reply::ok(HeaderValue::from_static("text/event-stream"), Body::Stream(Box::pin(stream::iter(parts))))
}

/// The maximum number of characters that the request allows, under any of the option's names.
fn max_characters(request: &Value) -> usize {
    let names = ["max_tokens", "max_completion_tokens", "max_output_tokens"];
    let tokens = names.iter().find_map(|name| request[name].as_u64());
    let tokens = tokens.and_then(|tokens| usize::try_from(tokens).ok()).unwrap_or(MOST_TOKENS);
    tokens.min(MOST_TOKENS) * CHARACTERS_PER_TOKEN
}

fn last_message(messages: &Value) -> Option<String> {
    text_of(&messages.as_array()?.last()?["content"])
}

/// The text of a string, or the joined texts of a list of strings or parts.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let texts: Vec<&str> =
                parts.iter().filter_map(|part| part.as_str().or_else(|| part["text"].as_str())).collect();
            (!texts.is_empty()).then(|| texts.join(" "))
        }
        _ => None,
    }
}
