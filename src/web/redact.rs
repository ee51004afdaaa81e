//! Removes secrets from what is logged or stored about a request.
//!
//! [`path`] is the only form in which a request's path is recorded: the route's pattern with its
//! public parameters filled in. [`text()`] cleans everything else that is logged, including what
//! libraries write at TRACE. Both know the patterns of all routes.

mod shape;
mod text;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use actix_web::HttpRequest;
use actix_web::http::Method;
use percent_encoding::percent_decode_str;

use crate::keys::secret::contains_key;
use crate::path::Pattern;
use crate::web::redact::shape::{is_file, is_id, is_number, is_provider, is_slug};

pub use self::text::{SECRET_FIELDS, SECRET_HEADERS, text};

/// Whether the value of a path parameter may be recorded.
#[derive(Clone, Copy)]
pub enum Value {
    /// Never: it is a credential, or its content is unknown.
    Secret,
    /// Only if it has this form.
    Public(fn(&str) -> bool),
}

/// Every parameter of a route's pattern. Others are treated as secrets.
pub const PARAMETERS: &[(&str, Value)] = &[
    ("token", Value::Secret),
    // The path of a request to another service.
    ("rest", Value::Secret),
    // The name of a model may be any text that a client sends.
    ("model", Value::Secret),
    ("org", Value::Public(is_slug)),
    ("id", Value::Public(is_id)),
    ("index", Value::Public(is_number)),
    ("number", Value::Public(is_number)),
    ("file", Value::Public(is_file)),
    ("provider", Value::Public(is_provider)),
];

/// Replaces the rest of a path that belongs to no route.
const UNKNOWN: &str = "{unknown}";
/// The most segments that are recorded of a path without a route.
const MOST_SEGMENTS: usize = 8;
/// How often a path is decoded at most: some clients and proxies encode twice.
const MOST_DECODINGS: usize = 4;

/// One segment of a pattern.
enum Segment {
    Literal(&'static str),
    Parameter { name: &'static str, suffix: &'static str, value: Value, takes_rest: bool },
}

type Segments = Vec<Segment>;

/// All patterns by their first segment, the more specific ones first.
static PATTERNS: LazyLock<HashMap<&'static str, Vec<Segments>>> = LazyLock::new(|| {
    let mut patterns: Vec<&'static str> = Pattern::ALL.iter().map(|pattern| pattern.as_str()).collect();
    // `{` sorts behind letters, digits and hyphens, and `{id}.ics` must come before `{id}`.
    patterns.sort_unstable_by_key(|pattern| format!("{pattern}~"));
    let mut by_first = HashMap::<_, Vec<Segments>>::new();
    for pattern in patterns {
        by_first.entry(pattern.split('/').nth(1).unwrap_or_default()).or_default().push(segments_of(pattern));
    }
    by_first
});

/// The segments before the first secret of each pattern that has one.
static BEFORE_SECRETS: LazyLock<Vec<&'static [Segment]>> = LazyLock::new(|| {
    let is_secret = |part: &Segment| matches!(part, Segment::Parameter { value: Value::Secret, .. });
    let patterns = PATTERNS.values().flatten();
    patterns.filter_map(|pattern| Some(&pattern[..pattern.iter().position(is_secret)?])).collect()
});

/// The literal segments of all patterns. They may be recorded anywhere.
static WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let literal = |segment: &Segment| match segment {
        Segment::Literal(text) => Some(*text),
        Segment::Parameter { .. } => None,
    };
    PATTERNS.values().flatten().flatten().filter_map(literal).collect()
});

fn segments_of(pattern: &'static str) -> Segments {
    let segments = pattern.split('/').filter(|segment| !segment.is_empty());
    let parts = segments.map(|segment| {
        let Some((name, suffix)) = segment.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
            return Segment::Literal(segment);
        };
        let (name, expression) = name.split_once(':').map_or((name, ""), |(name, rest)| (name, rest));
        let value = value_of(name).unwrap_or(Value::Secret);
        Segment::Parameter { name, suffix, value, takes_rest: !expression.is_empty() }
    });
    parts.collect()
}

fn value_of(parameter: &str) -> Option<Value> {
    PARAMETERS.iter().find(|(name, _)| *name == parameter).map(|(_, value)| *value)
}

/// A method as it may be recorded. Clients can send any word.
pub fn method(method: &Method) -> &str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    let name = method.as_str();
    if known.contains(&name) { name } else { "{unknown}" }
}

/// Method and path of a request as they may be recorded.
pub fn route(request: &HttpRequest) -> String {
    format!("{} {}", method(request.method()), path(request.path()))
}

/// A path as it may be recorded: its route's pattern, with public parameters filled in. A path
/// without a route is recorded as far as its words also occur in routes.
pub fn path(raw: &str) -> String {
    let segments = segments(raw);
    if contains_key(raw) || segments.iter().any(|segment| contains_key(segment)) {
        return "[a path with a key]".to_owned();
    }
    recorded(&segments)
}

fn recorded(segments: &[String]) -> String {
    let first = segments.first().map(|first| first.to_ascii_lowercase()).unwrap_or_default();
    let patterns = PATTERNS.get(first.as_str());
    if let Some(known) = patterns.into_iter().flatten().find_map(|pattern| fill_in(pattern, segments)) {
        return known;
    }
    let mut text = String::new();
    for (place, segment) in segments.iter().enumerate() {
        let word = WORDS.get(segment.to_ascii_lowercase().as_str()).filter(|_| place < MOST_SEGMENTS);
        text.push('/');
        text.push_str(word.copied().unwrap_or(UNKNOWN));
        if word.is_none() {
            break;
        }
    }
    text
}

/// The segments of a path, read as leniently as any router might: decoded, without empty segments,
/// dots and matrix parameters.
fn segments(raw: &str) -> Vec<String> {
    let mut text = Cow::Borrowed(raw);
    for _ in 0..MOST_DECODINGS {
        let end = text.find(['?', '#']).unwrap_or(text.len());
        if end < text.len() {
            text = text[..end].to_owned().into();
        }
        if !text.contains('%') {
            break;
        }
        text = percent_decode_str(&text).decode_utf8_lossy().into_owned().into();
    }
    let mut segments = Vec::new();
    for segment in text.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment.trim_matches(|letter: char| letter.is_whitespace() || letter.is_control()) {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

/// The pattern with its public parameters filled in, if the segments match it.
fn fill_in(pattern: &[Segment], segments: &[String]) -> Option<String> {
    let takes_rest = matches!(pattern.last(), Some(Segment::Parameter { takes_rest: true, .. }));
    let fits = segments.len() == pattern.len() || (takes_rest && segments.len() > pattern.len());
    if !fits {
        return None;
    }
    let mut text = String::new();
    for (part, segment) in pattern.iter().zip(segments) {
        text.push('/');
        match part {
            Segment::Literal(literal) if literal.eq_ignore_ascii_case(segment) => text.push_str(literal),
            Segment::Literal(_) => return None,
            Segment::Parameter { name, suffix, value, .. } => {
                let end = segment.len().checked_sub(suffix.len())?;
                let (given, rest) = segment.split_at_checked(end)?;
                if !rest.eq_ignore_ascii_case(suffix) {
                    return None;
                }
                match value {
                    Value::Public(has_shape) if has_shape(given) => text.push_str(given),
                    _ => {
                        text.push('{');
                        text.push_str(name);
                        text.push('}');
                    }
                }
                text.push_str(suffix);
            }
        }
    }
    if text.is_empty() {
        text.push('/');
    }
    Some(text)
}

/// Whether the segments match a pattern up to its first secret, and continue.
fn open_with_secret(segments: &[String]) -> bool {
    BEFORE_SECRETS.iter().any(|before| {
        before.len() < segments.len()
            && before.iter().zip(segments).all(|(part, segment)| match part {
                Segment::Literal(literal) => literal.eq_ignore_ascii_case(segment),
                Segment::Parameter { .. } => true,
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "inv_01kb0000000000000000000000.0123456789abcdef0123456789abcdef01234567";
    const ID: &str = "key_01kb0000000000000000000000";

    #[test]
    fn path_keeps_public_parameters_and_no_other() {
        for (raw, known) in [
            ("/".to_owned(), "/".to_owned()),
            ("".to_owned(), "/".to_owned()),
            (format!("/o/acme-ai/keys/{ID}/edit"), format!("/o/acme-ai/keys/{ID}/edit")),
            (format!("/keys/{ID}.ics"), format!("/keys/{ID}.ics")),
            ("/o/acme-ai/members/roles".to_owned(), "/o/acme-ai/members/roles".to_owned()),
            (format!("/o/acme-ai/keys/{TOKEN}"), "/o/acme-ai/keys/{id}".to_owned()),
            (format!("/o/{TOKEN}/keys"), "/o/{org}/keys".to_owned()),
            (format!("/assets/{TOKEN}"), "/assets/{file}".to_owned()),
            (format!("/invitations/{TOKEN}"), "/invitations/{token}".to_owned()),
            (format!("/invitations/{TOKEN}/accept"), "/invitations/{token}/accept".to_owned()),
            (format!("/calendar/{TOKEN}.ics"), "/calendar/{token}.ics".to_owned()),
            (format!("/calendar/{TOKEN}.ICS"), "/calendar/{token}.ics".to_owned()),
            (format!("/calendar/{TOKEN}"), "/calendar/{unknown}".to_owned()),
            ("/v1/authorize/a/b?c".to_owned(), "/v1/authorize/{rest}".to_owned()),
            ("/v1/authorize".to_owned(), "/v1/authorize".to_owned()),
            (format!("/v1/models/{TOKEN}"), "/v1/models/{model}".to_owned()),
            ("/v1/models/acme/large?key=c".to_owned(), "/v1/models/{model}".to_owned()),
            ("/v1/models/".to_owned(), "/v1/models".to_owned()),
            ("/chat/completions".to_owned(), "/chat/completions".to_owned()),
            ("/wp-admin/keys".to_owned(), "/{unknown}".to_owned()),
            ("/v1/".repeat(50), "/v1/v1/v1/v1/v1/v1/v1/v1/{unknown}".to_owned()),
        ] {
            assert_eq!(path(&raw), known, "{raw}");
        }
    }

    #[test]
    fn every_parameter_is_classified_and_fills_the_start_of_its_segment() {
        for pattern in Pattern::ALL {
            for segment in pattern.as_str().split('/').filter(|segment| segment.contains(['{', '}'])) {
                let (name, suffix) = segment.strip_prefix('{').and_then(|rest| rest.split_once('}')).unwrap();
                assert!(!suffix.contains(['{', '}']), "{pattern:?}");
                assert!(value_of(name.split(':').next().unwrap()).is_some(), "{pattern:?}");
            }
        }
    }

    #[test]
    fn path_is_recognised_however_it_is_written() {
        for raw in [
            "/%69nvitations/§",
            "/%2569nvitations/§",
            "/invitations%2f§",
            "/invitations%252F§",
            "/INVITATIONS/§",
            "//invitations//§",
            "/invitations/§/",
            "/./invitations/./§",
            "/docs/../invitations/§",
            "/invitations;a=b/§;c=d",
            "/invitations\\§",
            "/invitations%5C§",
            "/invitations%00/§",
            "/invitations /§",
            "invitations/§#x",
            "/invitations/§?x",
        ] {
            assert_eq!(path(&raw.replace('§', TOKEN)), "/invitations/{token}", "{raw}");
        }
    }
}
