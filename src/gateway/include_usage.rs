//! Requests the usage of a stream from the upstream, if the client did not.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    stream_options: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    include_usage: Option<&'a RawValue>,
}

/// A value as it is written, `null` included.
fn raw<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(deserializer).map(Some)
}

/// The body with `stream_options.include_usage` set; every other byte stays. `None` if the client has set it, or if
/// the body is invalid, which the upstream will say.
pub fn with_usage(body: &[u8]) -> Option<Vec<u8>> {
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    let Some(options) = outer.stream_options else {
        return insert(body, after_brace(body)?, "\"stream_options\":{\"include_usage\":true}");
    };
    let place = place(body, options.get());
    if options.get() == "null" {
        return Some(replace(body, place, "{\"include_usage\":true}"));
    }
    let inner: Options<'_> = serde_json::from_str(options.get()).ok()?;
    match inner.include_usage.map(RawValue::get) {
        Some("true") => None,
        Some(other) => {
            let inner = self::place(options.get().as_bytes(), other);
            Some(replace(body, place.start + inner.start..place.start + inner.end, "true"))
        }
        None => insert(body, place.start + after_brace(options.get().as_bytes())?, "\"include_usage\":true"),
    }
}

/// The range of a part within the text that it was borrowed from.
fn place(text: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

fn after_brace(object: &[u8]) -> Option<usize> {
    Some(object.iter().position(|byte| *byte == b'{')? + 1)
}

/// Inserts a member at the start of an object.
fn insert(body: &[u8], at: usize, member: &str) -> Option<Vec<u8>> {
    let next = body.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace())?;
    let comma = if *next == b'}' { "" } else { "," };
    Some(replace(body, at..at, &format!("{member}{comma}")))
}

fn replace(body: &[u8], range: Range<usize>, text: &str) -> Vec<u8> {
    [&body[..range.start], text.as_bytes(), &body[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_requested_and_every_other_byte_stays() {
        let with = "\"stream_options\":{\"include_usage\":true}";
        for (body, expected) in [
            (r#" { "model": "m",  "x": 1.50 }"#, Some(format!(r#" {{{with}, "model": "m",  "x": 1.50 }}"#))),
            ("{}", Some(format!("{{{with}}}"))),
            (
                r#"{"stream_options": null, "a": 1}"#,
                Some(r#"{"stream_options": {"include_usage":true}, "a": 1}"#.into()),
            ),
            (r#"{"stream_options": { }}"#, Some(r#"{"stream_options": {"include_usage":true }}"#.into())),
            (
                r#"{"stream_options": {"other": [1, 2]}}"#,
                Some(r#"{"stream_options": {"include_usage":true,"other": [1, 2]}}"#.into()),
            ),
            (
                r#"{"stream_options": {"other": 1, "include_usage" : false}, "b": 2}"#,
                Some(r#"{"stream_options": {"other": 1, "include_usage" : true}, "b": 2}"#.into()),
            ),
            (
                r#"{"stream_options": {"include_usage": null}}"#,
                Some(r#"{"stream_options": {"include_usage": true}}"#.into()),
            ),
            (r#"{"stream_options": {"include_usage": true}}"#, None),
            (r#"{"stream_options": "nonsense"}"#, None),
            (
                r#"{"messages": [{"stream_options": 1}], "a": "{"}"#,
                Some(format!(r#"{{{with},"messages": [{{"stream_options": 1}}], "a": "{{"}}"#)),
            ),
            ("no JSON", None),
        ] {
            let found = with_usage(body.as_bytes()).map(|body| String::from_utf8(body).unwrap());
            assert_eq!(found, expected, "{body}");
        }
    }
}
