//! Replaces the model in the body of a request.

use std::ops::Range;

use actix_web::web::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
}

/// The body with another name in its member `model`; every other byte stays. `None` if it is no JSON object with
/// exactly one such member.
pub(super) fn replaced(body: &Bytes, model: &str) -> Option<Bytes> {
    // A struct can also be read from an array.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    let outer: Outer<'_> = serde_json::from_slice(body).ok()?;
    let place = place_of(outer.model.get(), body)?;
    let name = serde_json::to_string(model).ok()?;
    Some([&body[..place.start], name.as_bytes(), &body[place.end..]].concat().into())
}

/// Where a part of the body begins and ends.
fn place_of(part: &str, body: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(body.as_ptr() as usize)?;
    let place = start..start.checked_add(part.len())?;
    (body.get(place.clone())? == part.as_bytes()).then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_model_of_the_request_changes() {
        for (body, expected) in [
            (r#"{"model":"a","n":1}"#, Some(r#"{"model":"b/\"c","n":1}"#)),
            (
                r#" { "x" : {"model":"a"} , "model" : "a" } "#,
                Some(r#" { "x" : {"model":"a"} , "model" : "b/\"c" } "#),
            ),
            (r#"{"n":1.10,"model":"\u0061","z":"é"}"#, Some(r#"{"n":1.10,"model":"b/\"c","z":"é"}"#)),
            (r#"{"model":"a","model":"a"}"#, None),
            (r#"{"n":1}"#, None),
            (r#"["model"]"#, None),
            ("", None),
        ] {
            let replaced = replaced(&Bytes::from_static(body.as_bytes()), "b/\"c");
            assert_eq!(replaced.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }
}
