//! The tokens of a request: as reported by the upstream, or estimated from the texts.

pub mod facts;
pub mod member;
pub mod scanner;
pub mod usage;

pub use facts::{CHARACTERS_PER_TOKEN, Facts};
pub use member::Member;
pub use scanner::Scanner;

use crate::gateway::tokens::usage::Reported;
use crate::gateway::upstream::failure;
use crate::usage::call::Tokens;
use crate::web::ticket::Ticket;

/// The estimated tokens of a text.
pub fn estimate(text: &str) -> u64 {
    tokens_of(text.chars().count())
}

fn tokens_of(characters: usize) -> u64 {
    characters.div_ceil(CHARACTERS_PER_TOKEN) as u64
}

/// The estimated tokens of a request body: its messages with tool calls and their results, its instructions, and
/// the definitions of its tools.
pub fn of_request(request: &[u8]) -> u64 {
    let mut scanner = Scanner::new(Member::Request);
    scanner.feed(request);
    tokens_of(scanner.facts().characters())
}

/// Adds up the tokens of a response, and reports them to the ticket when it is dropped: at the end of the response, or
/// when the client disconnects.
pub struct TokenCounter {
    ticket: Ticket,
    reported: Reported,
    /// The estimated tokens of the request.
    input: u64,
    /// The number of characters in the response.
    characters: usize,
}

impl TokenCounter {
    /// Starts counting the response to a request with this many estimated tokens.
    pub fn new(ticket: Ticket, input: u64) -> TokenCounter {
        TokenCounter { ticket, reported: Reported::default(), input, characters: 0 }
    }

    /// Counts a response or an event of it.
    pub fn add(&mut self, facts: &Facts) {
        self.reported.update(&facts.reported);
        self.characters += facts.characters();
    }

    /// The tokens counted so far.
    pub fn tokens(&self) -> Tokens {
        let estimated =
            || Tokens { input: self.input, output: tokens_of(self.characters), ..Tokens::default() };
        self.reported.tokens().unwrap_or_else(estimated)
    }

    /// Ends counting with a whole response. Returns its tokens.
    pub fn finish(mut self, facts: &Facts) -> Tokens {
        self.add(facts);
        self.tokens()
    }

    /// Reports a failure of the upstream, which is logged and counted.
    pub fn report(&self, event: &str, message: &str) {
        failure::report(&self.ticket, event, message);
    }

    /// Records that the response broke off.
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

    /// The facts about a text that arrives in pieces of this size.
    fn facts(meaning: Member, text: &str, size: usize) -> Facts {
        let mut scanner = Scanner::new(meaning);
        for piece in text.as_bytes().chunks(size) {
            scanner.feed(piece);
        }
        assert!(!scanner.is_cut(), "{text}");
        scanner.into_facts()
    }

    #[test]
    fn characters_of_all_output_are_counted_however_the_bytes_are_cut() {
        for (response, characters) in [
            (r#"{"choices": [{"message": {"role": "assistant", "content": "1234"}}]}"#, 4),
            (
                r#"{"choices": [{"message": {"content": [{"type": "text", "text": "12"}, {"text": "34"}]}}]}"#,
                4,
            ),
            (r#"{"choices": [{"text": "12"}, {"text": "34"}], "usage": null}"#, 4),
            (r#"{"choices": [{"message": {"content": null, "refusal": "No."}}]}"#, 3),
            (r#"{"choices": [{"message": {"content": "ab", "reasoning_content": "hm"}}]}"#, 4),
            (r#"{"choices": [{"delta": {"reasoning": "hmm", "reasoning_content": "hmm"}}]}"#, 3),
            (
                r#"{"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                "function": {"name": "get", "arguments": "{\"a\":1}"}}]}}]}"#,
                3 + 7,
            ),
            (r#"{"choices": [{"delta": {"function_call": {"name": "get", "arguments": "{}"}}}]}"#, 5),
            (
                r#"{"output": [{"type": "message", "content": [{"type": "output_text", "text": "1234"}]},
                {"type": "function_call", "name": "get", "arguments": "{}", "call_id": "c"},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}]}"#,
                4 + 5 + 3,
            ),
            (r#"{"type": "response.output_text.delta", "delta": "1234"}"#, 4),
            (r#"{"delta": "{\"a\"", "type": "response.function_call_arguments.delta"}"#, 4),
            (r#"{"type": "response.audio.delta", "delta": "AAAA"}"#, 0),
            (
                r#"{"type": "response.output_item.added", "item": {"type": "function_call", "name": "get"}}"#,
                3,
            ),
            (r#"{"type": "response.output_item.done", "item": {"name": "get", "arguments": "{}"}}"#, 0),
            (
                r#"{"type": "response.completed", "response": {"output": [{"content": [{"text": "again"}]}]}}"#,
                0,
            ),
            (r#"{"type": "content_block_delta", "delta": {"type": "text_delta", "text": "1234"}}"#, 4),
            (r#"{"choices": [{"message": {"content": "é\u00e9\ud83d\ude00😀\n\"\\"}}]}"#, 7),
            (r#"{"object": "embedding", "data": [{"embedding": [0.5, -1, 1e3], "text": "no"}]}"#, 0),
            ("no JSON", 0),
            ("", 0),
        ] {
            for size in [1, 2, 3, 7, 1000] {
                assert_eq!(
                    facts(Member::Response, response, size).characters(),
                    characters,
                    "{response} by {size}"
                );
            }
        }
    }

    #[test]
    fn characters_of_all_input_are_counted() {
        for (request, tokens) in [
            (r#"{"messages": [{"role": "user", "content": "12345678"}]}"#, 2),
            (r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "12345678"}]}]}"#, 2),
            (
                r#"{"messages": [{"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}]}"#,
                0,
            ),
            (
                r#"{"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "abcd", "arguments": "1234"}}]},
                {"role": "tool", "tool_call_id": "x", "content": "1234"}]}"#,
                3,
            ),
            (r#"{"prompt": ["1234", "5678"]}"#, 2),
            (r#"{"prompt": [1, 22, 333]}"#, 3),
            (r#"{"input": "12345678", "instructions": "1234"}"#, 3),
            (r#"{"input": [{"type": "function_call_output", "call_id": "x", "output": "1234"}]}"#, 1),
            (r#"{"tools": [{"abcd": {"efgh": "1234"}}]}"#, 3),
            (r#"{"model": "long name", "user": "someone"}"#, 0),
            ("no JSON", 0),
        ] {
            assert_eq!(of_request(request.as_bytes()), tokens, "{request}");
        }
    }

    #[test]
    fn tokens_errors_and_the_end_of_choices_are_read() {
        let text = r#"{"id": "x", "usage": {"prompt_tokens": 7, "completion_tokens": 9}, "error": null, "choices": [
            {"index": 1, "finish_reason": "stop"}, {"finish_reason": null, "index": 0}]}"#;
        for size in [1, 3, 1000] {
            let facts = facts(Member::Response, text, size);
            assert_eq!(facts.reported.tokens(), Some(Tokens { input: 7, output: 9, ..Tokens::default() }));
            assert!(facts.has_usage && facts.error.is_none());
            assert_eq!(
                facts.choices.into_iter().collect::<Vec<_>>(),
                [(0, None), (1, Some("stop".to_owned()))]
            );
        }
        for (text, error) in [
            (r#"{"error": {"message": "Overloaded"}}"#, Some(r#"{"message":"Overloaded"}"#)),
            (r#"{"error": "Overloaded", "choices": []}"#, Some(r#""Overloaded""#)),
            (r#"{"type": "response.failed", "response": {"error": {"code": 1}}}"#, Some(r#"{"code":1}"#)),
            (r#"{"type": "response.created", "response": {"error": null}}"#, None),
            (r#"{"choices": [{"delta": {"content": "{\"error\": 1}", "error": "a text"}}]}"#, None),
        ] {
            assert_eq!(facts(Member::Response, text, 5).error.as_deref(), error, "{text}");
        }
        for text in [
            r#"{"choices": [], "x_groq": {"id": "r", "usage": {"prompt_tokens": 7}}}"#,
            r#"{"choices": [{"index": 0, "finish_reason": "stop", "usage": {"prompt_tokens": 7}}]}"#,
        ] {
            assert!(facts(Member::Response, text, 5).reported.tokens().is_some(), "{text}");
        }
        let nested = r#"{"type": "response.completed", "response": {"usage": {"input_tokens": 7, "output_tokens": 9}}}"#;
        assert!(facts(Member::Response, nested, 4).reported.tokens().is_some());
    }

    #[test]
    fn long_and_deep_texts_are_read_in_constant_memory() {
        let text = "x".repeat(1_000_000);
        let long = format!(
            r#"{{"choices": [{{"message": {{"content": "{text}"}}}}], "error": "{text}", "usage":
            {{"prompt_tokens": 7}}, "{text}": [{text:?}]}}"#
        );
        let facts = facts(Member::Response, &long, 1000);
        assert_eq!(facts.characters(), 1_000_000);
        assert_eq!(facts.error.as_deref(), Some("null"));
        assert!(facts.reported.tokens().is_some());
        let mut scanner = Scanner::new(Member::Response);
        scanner.feed("[".repeat(1_000_000).as_bytes());
        assert!(!scanner.is_cut() && scanner.into_facts().characters() == 0);
        let mut cut = Scanner::new(Member::Response);
        cut.feed(br#"{"choices": [{"message": {"content": "1234"#);
        assert!(cut.is_cut() && cut.facts().characters() == 4);
    }
}
