//! `GET /v1/models`, `GET /v1/inference` and `POST /v1/inference`.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Deserialize;

use crate::error::{Error, FieldError};
use crate::gateway::upstream::{Call, Upstream};
use crate::time::Time;
use crate::web::body::Json;
use crate::web::problem::Problem;

const MAX_MODEL: usize = 200;
const MAX_TOKENS: i64 = 10_000_000;

/// The body of `POST /v1/inference`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InferenceBody {
    model: String,
    prompt: String,
    max_tokens: Option<i64>,
    temperature: Option<f64>,
    stream: Option<bool>,
}

/// `GET /v1/models` and `GET /v1/inference`: what can be called.
pub async fn models(upstream: Data<Upstream>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(upstream.models(Time::now()).await?))
}

/// `POST /v1/inference`: one prompt, one answer.
pub async fn infer(upstream: Data<Upstream>, body: Json<InferenceBody>) -> Result<HttpResponse, Problem> {
    let call = check(body.value)?;
    Ok(HttpResponse::Ok().json(upstream.infer(&call, Time::now()).await?))
}

fn check(body: InferenceBody) -> Result<Call, Error> {
    let mut errors = Vec::new();
    let mut complain = |field, message: &str| errors.push(FieldError::new(field, message));
    let model = body.model.trim();
    if model.is_empty() || model.len() > MAX_MODEL || model.chars().any(char::is_control) {
        complain("model", "Name a model; `GET /v1/models` lists what there is.");
    }
    if body.prompt.trim().is_empty() {
        complain("prompt", "Write a prompt.");
    }
    if body.max_tokens.is_some_and(|tokens| !(1..=MAX_TOKENS).contains(&tokens)) {
        complain("max_tokens", "Use a number from 1 to 10000000.");
    }
    if body.temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        complain("temperature", "Use a number from 0 to 2.");
    }
    if body.stream == Some(true) {
        complain("stream", "Answers are not streamed yet. Leave it out or send false.");
    }
    if !errors.is_empty() {
        return Err(Error::Invalid(errors));
    }
    Ok(Call {
        model: model.to_owned(),
        prompt: body.prompt,
        max_tokens: body.max_tokens.and_then(|tokens| u32::try_from(tokens).ok()),
        temperature: body.temperature,
    })
}
