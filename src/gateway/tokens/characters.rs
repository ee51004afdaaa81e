//! The number of characters of text in a request or response, without building a JSON tree: a body of 10 MiB
//! may contain millions of values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The number of characters in a request.
pub(super) fn of_request_text(request: &[u8]) -> usize {
    count(request, |name| match name {
        "messages" | "prompt" | "input" | "instructions" => Some(Text::Parts),
        _ => None,
    })
}

/// The number of characters in a whole response.
pub(super) fn of_response_text(answer: &[u8]) -> usize {
    count(answer, |name| match name {
        "output" => Some(Text::Parts),
        "choices" => Some(Text::Choices),
        _ => None,
    })
}

fn count(json: &[u8], members: fn(&str) -> Option<Text>) -> usize {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Top(members).deserialize(&mut deserializer).unwrap_or_default()
}

/// The members of an object that contain text, and how.
struct Top(fn(&str) -> Option<Text>);

/// How a value contains text.
#[derive(Clone, Copy)]
enum Text {
    /// A text, or a list of messages or their parts.
    Parts,
    /// A list of choices.
    Choices,
}

impl<'de> DeserializeSeed<'de> for Top {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        members(map, self.0)
    }
}

fn members<'de, A: MapAccess<'de>>(
    mut map: A,
    text: impl Fn(&str) -> Option<Text>,
) -> Result<usize, A::Error> {
    let mut sum = 0;
    while let Some(name) = map.next_key::<String>()? {
        match text(&name) {
            Some(text) => sum += map.next_value_seed(text)?,
            None => drop(map.next_value::<IgnoredAny>()?),
        }
    }
    Ok(sum)
}

impl<'de> DeserializeSeed<'de> for Text {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<usize, E> {
        Ok(match self {
            Text::Parts => text.chars().count(),
            Text::Choices => 0,
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<usize, A::Error> {
        let mut sum = 0;
        while let Some(characters) = list.next_element_seed(self)? {
            sum += characters;
        }
        Ok(sum)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<usize, A::Error> {
        members(map, |name| match (self, name) {
            (Text::Parts, "content" | "text") | (Text::Choices, "message" | "text") => Some(Text::Parts),
            _ => None,
        })
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_unit<E: Error>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_none<E: Error>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        self.deserialize(deserializer)
    }
}
