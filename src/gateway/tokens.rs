//! The tokens of a request: as reported by the upstream, or estimated.

mod characters;

use serde::Deserialize;
use serde_json::Value;

use crate::gateway::sse::{Data, Parser};
use crate::gateway::tokens::characters::{of_request_text, of_response_text};
use crate::usage::call::Tokens;
use crate::web::ticket::Ticket;

/// The estimated number of characters per token, if the upstream doesn't report tokens.
pub const CHARACTERS_PER_TOKEN: usize = 4;

/// No request uses this many tokens. Larger reports are wrong and ignored: sums of them would overflow the
/// tables.
const MOST_TOKENS: u64 = 1_000_000_000;

/// The estimated tokens of a text.
pub fn estimate(text: &str) -> u64 {
    tokens_of(text.chars().count())
}

fn tokens_of(characters: usize) -> u64 {
    characters.div_ceil(CHARACTERS_PER_TOKEN) as u64
}

/// The tokens of a request with its whole response.
pub fn of_response(request: &[u8], answer: &[u8]) -> Tokens {
    #[derive(Deserialize)]
    struct Answer {
        usage: Option<Value>,
    }
    let usage = serde_json::from_slice(answer).ok().and_then(|answer: Answer| answer.usage);
    usage
        .as_ref()
        .and_then(reported)
        .unwrap_or_else(|| Tokens { input: of_request(request), output: tokens_of(of_response_text(answer)) })
}

/// The estimated tokens of a request body.
fn of_request(request: &[u8]) -> u64 {
    tokens_of(of_request_text(request))
}

/// The tokens that a response reports, in either form of the OpenAI API.
fn reported(usage: &Value) -> Option<Tokens> {
    let number = |name: &str| usage[name].as_u64().filter(|tokens| *tokens <= MOST_TOKENS);
    let input = number("prompt_tokens").or(number("input_tokens"));
    let output = number("completion_tokens").or(number("output_tokens"));
    (input.is_some() || output.is_some())
        .then(|| Tokens { input: input.unwrap_or(0), output: output.unwrap_or(0) })
}

/// The usage at the end of a long event. A quote within a text has a backslash before it, so no text can
/// pass for a member.
fn usage_at_end(tail: &[u8]) -> Option<Tokens> {
    const MEMBER: &[u8] = b"\"usage\":";
    let at = tail.windows(MEMBER.len()).rposition(|window| window == MEMBER)?;
    if at.checked_sub(1).is_some_and(|before| tail[before] == b'\\') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(&tail[at + MEMBER.len()..]).into_iter::<Value>();
    values.next()?.ok().as_ref().and_then(reported)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The number of characters in a text, a list of texts, or messages and their parts.
fn characters(value: &Value) -> usize {
    match value {
        Value::String(text) => text.chars().count(),
        Value::Array(parts) => parts.iter().map(characters).sum(),
        Value::Object(part) => {
            ["content", "text"].iter().filter_map(|name| part.get(*name)).map(characters).sum()
        }
        _ => 0,
    }
}

/// Counts the tokens of a stream as it passes, and reports them to the ticket when the stream ends or is
/// dropped.
pub struct TokenCounter {
    ticket: Ticket,
    parser: Parser,
    reported: Option<Tokens>,
    input: u64,
    output: usize,
    /// Whether an event was too long to be counted.
    cut: bool,
}

impl TokenCounter {
    /// Starts counting the response to a request.
    pub fn new(ticket: Ticket, request: &[u8]) -> TokenCounter {
        let (parser, input) = (Parser::default(), of_request(request));
        TokenCounter { ticket, parser, reported: None, input, output: 0, cut: false }
    }

    /// Counts bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        for data in self.parser.feed(bytes) {
            match data {
                Data::Whole(data) => {
                    // The end is not JSON, and a broken event counts as nothing.
                    if let Ok(event) = serde_json::from_str(&data) {
                        self.read(&event);
                    }
                }
                Data::Tail(tail) => {
                    if !self.cut {
                        self.cut = true;
                        tracing::debug!("an event of the upstream is too long to be counted");
                    }
                    self.reported = usage_at_end(&tail).or(self.reported);
                }
            }
        }
    }

    /// Counts one event.
    pub fn read(&mut self, event: &Value) {
        if let Some(reported) = reported(&event["usage"]).or_else(|| reported(&event["response"]["usage"])) {
            self.reported = Some(reported);
        }
        // In events of the responses API, the delta is the text itself.
        self.output += characters(&event["delta"]);
        for choice in list(&event["choices"]) {
            self.output += characters(&choice["delta"]) + characters(&choice["text"]);
        }
    }

    /// The tokens counted so far.
    pub fn tokens(&self) -> Tokens {
        self.reported.unwrap_or(Tokens { input: self.input, output: tokens_of(self.output) })
    }

    /// Records that the upstream broke off.
    pub fn record_break(&self) {
        self.ticket.record_break();
    }
}

impl Drop for TokenCounter {
    fn drop(&mut self) {
        self.ticket.set_tokens(self.tokens());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_tokens_are_used_in_both_forms() {
        let chat = br#"{"usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}}"#;
        assert_eq!(of_response(b"{}", chat), Tokens { input: 7, output: 9 });
        let response = br#"{"usage": {"input_tokens": 7, "output_tokens": 9}}"#;
        assert_eq!(of_response(b"{}", response), Tokens { input: 7, output: 9 });
        let embeddings = br#"{"usage": {"prompt_tokens": 7, "total_tokens": 7}}"#;
        assert_eq!(of_response(b"{}", embeddings), Tokens { input: 7, output: 0 });
    }

    #[test]
    fn tokens_that_are_not_reported_are_estimated_from_characters() {
        let requests: [&[u8]; 4] = [
            br#"{"messages": [{"role": "user", "content": "12345678"}]}"#,
            br#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "12345678"}]}]}"#,
            br#"{"prompt": ["1234", "5678"]}"#,
            br#"{"input": "12345678"}"#,
        ];
        let answers: [&[u8]; 4] = [
            br#"{"choices": [{"message": {"role": "assistant", "content": "1234"}}]}"#,
            br#"{"choices": [{"text": "1234"}], "usage": null}"#,
            br#"{"output": [{"type": "message", "content": [{"type": "output_text", "text": "1234"}]}]}"#,
            br#"{"choices": [{"text": "1234"}], "usage": {"prompt_tokens": 18446744073709551615}}"#,
        ];
        for (request, answer) in requests.iter().zip(answers) {
            assert_eq!(of_response(request, answer), Tokens { input: 2, output: 1 });
        }
        assert_eq!(of_response(b"no JSON", b"neither"), Tokens::default());
        let numbers = format!(r#"{{"input": [{}1]}}"#, "1,".repeat(1000));
        assert_eq!(of_response(numbers.as_bytes(), b"{}"), Tokens::default());
    }

    #[test]
    fn the_usage_at_the_end_of_a_long_event_is_read_and_a_text_cannot_imitate_it() {
        let tail = br#"and so on"}],"usage":{"input_tokens":7,"output_tokens":9},"x":1}}"#;
        assert_eq!(usage_at_end(tail), Some(Tokens { input: 7, output: 9 }));
        assert_eq!(usage_at_end(br#"says \"usage\":{\"input_tokens\":7}"}"#), None);
        assert_eq!(usage_at_end(br#"says \"usage":{"input_tokens":7}"}"#), None);
        assert_eq!(usage_at_end(b"nothing"), None);
    }
}
