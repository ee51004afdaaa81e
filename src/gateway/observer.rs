//! Observes a stream event by event: counts its tokens, notices errors, and knows whether it is complete.

use crate::gateway::protocol::{Progress, Protocol, StreamError};
use crate::gateway::tokens::{Member, Scanner, TokenCounter};
use crate::usage::call::Tokens;

/// How much of the beginning of an event's data is kept, to recognise `[DONE]` and to quote errors, in bytes.
const MAX_START: usize = 2048;

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    PassOn,
    /// It has only the usage that the client did not request.
    Hide,
    /// The upstream reports an error, which ends the stream.
    Failed(StreamError),
}

/// The observer of one stream. Its memory is bounded, however long events are.
pub struct Observer {
    protocol: Protocol,
    hides_usage: bool,
    counter: TokenCounter,
    scanner: Scanner,
    start: Vec<u8>,
    progress: Progress,
}

impl Observer {
    /// `hides_usage`: Keydesk requested the usage, not the client.
    pub fn new(protocol: Protocol, hides_usage: bool, counter: TokenCounter) -> Observer {
        let scanner = Scanner::new(Member::Response);
        Observer { protocol, hides_usage, counter, scanner, start: Vec::new(), progress: Progress::default() }
    }

    /// Takes data of the current event.
    pub fn take(&mut self, data: &[u8]) {
        self.scanner.feed(data);
        let room = MAX_START.saturating_sub(self.start.len());
        self.start.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// Ends the current event, which has this name.
    pub fn end_event(&mut self, name: &str) -> Verdict {
        let facts = std::mem::replace(&mut self.scanner, Scanner::new(Member::Response)).into_facts();
        let error = self.protocol.error(name, &self.start, &facts);
        self.progress.take(&self.start, &facts);
        self.start.clear();
        self.counter.add(&facts);
        match error {
            Some(error) => Verdict::Failed(error),
            None if self.hides_usage && facts.has_usage && facts.choices.is_empty() => Verdict::Hide,
            None => Verdict::PassOn,
        }
    }

    /// Whether a stream that ends here is complete.
    pub fn is_complete(&self) -> bool {
        self.progress.is_complete(self.protocol)
    }

    /// The tokens counted so far.
    pub fn tokens(&self) -> Tokens {
        self.counter.tokens()
    }

    /// Reports a failure of the upstream to the log.
    pub fn report(&self, event: &str, message: &str) {
        self.counter.report(event, message);
    }

    /// Records that the stream failed.
    pub fn record_break(&self) {
        self.counter.record_break();
    }
}
