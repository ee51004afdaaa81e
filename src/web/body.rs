//! JSON bodies and query strings from programs, parsed strictly.

pub mod budget;
mod members;
mod read;
mod sink;

pub use read::{buffer, buffered};

use std::collections::HashSet;
use std::future::{Ready, ready};
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, web};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::error::FieldError;
use crate::web::pairs;
use crate::web::problem::{Code, Problem};

/// The largest body of a management request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// The largest body that a route accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLimit {
    /// [`MAX_BODY`].
    Management,
    /// `KEYDESK_MAX_BODY`.
    Gateway,
}

/// A JSON body. Unknown and duplicate members and wrong types are refused by name, if the type denies
/// unknown fields.
pub struct Json<T> {
    /// The parsed body.
    pub value: T,
    /// The bytes from which it was parsed.
    pub bytes: web::Bytes,
}

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let bytes = buffered(payload.take());
        Box::pin(async move {
            if !is_json {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "Send the body as `Content-Type: application/json`.",
                ));
            }
            let bytes = bytes.await?;
            Ok(Json { value: parse(&bytes)?, bytes })
        })
    }
}

/// A JSON body that may be missing.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default + 'static> FromRequest for OptionalJson<T> {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let bytes = buffered(payload.take());
        Box::pin(async move {
            let bytes = bytes.await?;
            if bytes.is_empty() {
                return Ok(OptionalJson(T::default()));
            }
            if !is_json {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "Send the body as `Content-Type: application/json`.",
                ));
            }
            Ok(OptionalJson(parse(&bytes)?))
        })
    }
}

/// A query string. Unknown and duplicate parameters are refused, if the type denies unknown fields.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Query<T> {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read_query(request.query_string()).map(Query))
    }
}

fn read_query<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let unreadable = |reason: &str| Problem::bad_request(format!("The query can't be read: {reason}."));
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(unreadable("it is not UTF-8"));
    }
    let mut names = HashSet::new();
    for (name, _) in pairs::pairs(query.as_bytes(), "The query")? {
        if names.contains(&name) {
            return Err(unreadable(&format!("{} appears twice", shorten(&name))));
        }
        names.insert(name);
    }
    serde_html_form::from_str(query).map_err(|error| unreadable(&shorten(&error.to_string())))
}

fn is_json(request: &HttpRequest) -> bool {
    let Some(value) = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would accept an array for a struct, member by member.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') {
        return Err(Problem::bad_request("The body must be a JSON object."));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| complain(&error, members::of::<T>()))?;
    deserializer.end().map_err(|_| Problem::bad_request("There is text after the JSON body."))?;
    Ok(value)
}

/// Says where a body is wrong without repeating its content, which may be a secret. `members` are the names
/// of its members.
fn complain(error: &serde_path_to_error::Error<serde_json::Error>, members: &[&'static str]) -> Problem {
    let cause = error.inner();
    let text = cause.to_string();
    let what = match cause.classify() {
        serde_json::error::Category::Data => {
            let reason = text.split(" at line ").next().unwrap_or_default();
            let known = ["unknown field", "missing field", "duplicate field"]
                .iter()
                .any(|start| reason.starts_with(start));
            if known { shorten(reason) } else { wrong_type(reason) }
        }
        _ => "is not valid JSON".to_owned(),
    };
    let path = error.path().to_string();
    let place = if path == "." { "the body".to_owned() } else { path };
    let named = if place == "the body" { text.split('`').nth(1).unwrap_or_default() } else { &place };
    let named = named.split(['[', '.']).next().unwrap_or(named);
    let field = members.iter().copied().find(|member| *member == named);
    let mut problem =
        Problem::bad_request(format!("{place}: {what} (line {}, column {}).", cause.line(), cause.column()));
    if let Some(field) = field {
        problem.errors.push(FieldError::new(field, what));
    }
    problem
}

/// Shortens an error that quotes the request, which may be long or contain a key.
fn shorten(reason: &str) -> String {
    let clean: String = reason.chars().filter(|letter| !letter.is_control()).take(120).collect();
    if crate::keys::secret::contains_key(&clean) { "unknown field".to_owned() } else { clean }
}

fn wrong_type(reason: &str) -> String {
    match reason.split("expected ").nth(1) {
        Some(expected) => format!("has the wrong type; expected {}", json_type(expected)),
        None => "has the wrong type".to_owned(),
    }
}

/// The JSON name of a type, from serde's name.
fn json_type(expected: &str) -> &str {
    match expected.split([' ', ',']).next().unwrap_or_default() {
        "i64" | "u64" | "i32" | "u32" => "a whole number",
        "f64" | "f32" => "a number",
        "struct" | "map" => "an object",
        _ if expected.starts_with("a sequence") => "an array",
        _ => expected,
    }
}
