//! Passes responses on to the client as they arrive, unchanged, and observes them.
//!
//! Of an event stream, at most one event of [`MAX_HELD`] bytes is held until its end, which a client waits for
//! anyway. So the event with the usage that only Keydesk requested can be removed. Other chunks keep the
//! `"usage": null` that OpenAI then adds to them: clients ignore it, and removing it would rewrite each chunk.

use std::borrow::Cow;
use std::ops::Range;

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};

use crate::gateway::event_stream::{Part, Reader, event};
use crate::gateway::observer::{Observer, Verdict};
use crate::gateway::protocol::{StreamError, broken_off};
use crate::gateway::reply::{Interruption, Parts};
use crate::gateway::tokens::{Member, Scanner, TokenCounter};
use crate::web::problem::Problem;

/// The longest event that is held until its end, in bytes. A longer one is passed on as it arrives.
const MAX_HELD: usize = 64 * 1024;

/// Why a response ends early.
#[derive(Debug)]
pub enum Failure {
    /// The upstream reports an error in its stream.
    Reported(StreamError),
    /// The upstream broke off, or this process has to stop.
    Broken(Problem),
    /// The key stopped working, which is no failure.
    KeyRefused(Problem),
}

impl Failure {
    /// Whether the request failed, by no fault of the client.
    pub fn is_break(&self) -> bool {
        !matches!(self, Failure::KeyRefused(_))
    }

    /// The problem to report to the client.
    pub fn problem(&self) -> Cow<'_, Problem> {
        match self {
            Failure::Reported(error) => Cow::Owned(error.problem()),
            Failure::Broken(problem) | Failure::KeyRefused(problem) => Cow::Borrowed(problem),
        }
    }
}

impl From<Interruption> for Failure {
    fn from(interruption: Interruption) -> Failure {
        match interruption {
            Interruption::Upstream(break_off) => {
                break_off.report();
                Failure::Broken(broken_off())
            }
            Interruption::KeyRefused(problem) => Failure::KeyRefused(problem),
            Interruption::Stopping(problem) => Failure::Broken(problem),
        }
    }
}

/// Begins to pass an event stream on. Returns when the first bytes can be sent, so that an error at the beginning can
/// still become an HTTP error.
pub async fn events(
    events: Parts,
    observer: Observer,
) -> Result<impl Stream<Item = Result<Bytes, Interruption>>, Failure> {
    let mut relay = Relay {
        events,
        observer,
        reader: Reader::default(),
        held: Vec::new(),
        is_released: false,
        is_over: false,
    };
    let first = match relay.next().await {
        Some((before, Some(end))) if before.is_empty() => return Err(end.failure),
        first => first,
    };
    Ok(stream::unfold((relay, first), |(mut relay, first)| async move {
        let step = match first {
            Some(first) => first,
            None => relay.next().await?,
        };
        Some((Ok(relay.send(step)), (relay, None)))
    }))
}

struct Relay {
    events: Parts,
    observer: Observer,
    reader: Reader,
    /// The beginning of the current event.
    held: Vec<u8>,
    /// Whether a part of the current event was passed on, because it is too long to be held.
    is_released: bool,
    is_over: bool,
}

/// The failure that ends a stream, and the event that tells the client.
struct End {
    failure: Failure,
    event: Vec<u8>,
}

/// Bytes to send, and the end that follows them.
type Step = (Bytes, Option<End>);

impl Relay {
    /// The next step; `None` after the end.
    async fn next(&mut self) -> Option<Step> {
        while !self.is_over {
            let step = match self.events.next().await {
                Some(Ok(bytes)) => self.take(&bytes),
                // A connection that breaks after the end does no harm.
                Some(Err(Interruption::Upstream(_))) if self.observer.is_complete() => self.finish(),
                Some(Err(interruption)) => (Bytes::new(), Some(self.end(interruption.into()))),
                None => self.finish(),
            };
            self.is_over |= step.1.is_some();
            if step.1.is_some() || !step.0.is_empty() {
                return Some(step);
            }
        }
        None
    }

    /// The bytes of a step.
    fn send(&self, step: Step) -> Bytes {
        let (bytes, end) = step;
        let Some(end) = end else { return bytes };
        if end.failure.is_break() {
            self.observer.record_break();
        }
        [&bytes[..], &end.event].concat().into()
    }

    /// Takes bytes of the upstream.
    fn take(&mut self, chunk: &Bytes) -> Step {
        let mut out = Output { chunk, range: 0..0, bytes: Vec::new() };
        let (mut rest, mut from) = (&chunk[..], 0);
        while let Some(part) = self.reader.next(&mut rest) {
            let end = chunk.len() - rest.len();
            let verdict = match part {
                Part::Data(data) => {
                    self.observer.take(data);
                    continue;
                }
                Part::Gap => Verdict::PassOn,
                Part::Event(name) => self.observer.end_event(&name),
            };
            match verdict {
                Verdict::Hide if !self.is_released => self.held.clear(),
                Verdict::PassOn | Verdict::Hide => out.add(&mut self.held, from..end),
                Verdict::Failed(error) => {
                    let event = [&self.held[..], &chunk[from..end]].concat();
                    return (out.finish(), Some(self.fail(error, event)));
                }
            }
            self.is_released = false;
            from = end;
        }
        let is_long = self.held.len() + chunk.len() - from > MAX_HELD;
        if from < chunk.len() && (is_long || self.is_released) {
            self.is_released = true;
            out.add(&mut self.held, from..chunk.len());
        } else {
            self.held.extend_from_slice(&chunk[from..]);
        }
        (out.finish(), None)
    }

    /// Ends the stream as the upstream did, which may have left out the end of the last event.
    fn finish(&mut self) -> Step {
        self.is_over = true;
        let mut last = std::mem::take(&mut self.held);
        let name = self.reader.end();
        if name.is_none() && !self.observer.is_complete() {
            // The beginning of an event without data.
            last.clear();
        }
        if let Some(name) = name {
            last.extend_from_slice(b"\n\n");
            match self.observer.end_event(&name) {
                Verdict::PassOn => {}
                Verdict::Hide if self.is_released => {}
                Verdict::Hide => last.clear(),
                Verdict::Failed(error) => return (Bytes::new(), Some(self.fail(error, last))),
            }
            self.is_released = false;
        }
        let end = (!self.observer.is_complete()).then(|| {
            self.observer.report("the upstream ended a stream before its end", "");
            self.end(Failure::Broken(broken_off()))
        });
        (last.into(), end)
    }

    /// Ends the stream because the upstream reported an error in this event.
    fn fail(&self, error: StreamError, event: Vec<u8>) -> End {
        self.observer.report("the upstream reported an error in a stream", &error.message());
        if error.may_be_passed_on() {
            return End { failure: Failure::Reported(error), event };
        }
        self.end(Failure::Reported(error))
    }

    fn end(&self, failure: Failure) -> End {
        // The part of an event that was passed on must not become a part of this one.
        let gap = if self.is_released { "\n\n" } else { "" };
        let event = format!("{gap}{}", event(&failure.problem().event().to_string()));
        End { failure, event: event.into() }
    }
}

/// Collects the bytes to send of one chunk of the upstream; they are copied only if something between them is not
/// sent.
struct Output<'a> {
    chunk: &'a Bytes,
    range: Range<usize>,
    bytes: Vec<u8>,
}

impl Output<'_> {
    /// Adds bytes that were held, and then a range of the chunk.
    fn add(&mut self, held: &mut Vec<u8>, range: Range<usize>) {
        if !held.is_empty() || self.range.end != range.start {
            self.bytes.extend_from_slice(&self.chunk[std::mem::take(&mut self.range)]);
            self.bytes.append(held);
            self.range.start = range.start;
        }
        self.range.end = range.end;
    }

    fn finish(mut self) -> Bytes {
        if self.bytes.is_empty() {
            return self.chunk.slice(self.range);
        }
        self.bytes.extend_from_slice(&self.chunk[self.range]);
        self.bytes.into()
    }
}

/// Passes a whole response of this meaning on, and counts it as it passes.
pub fn whole(
    body: Parts,
    meaning: Member,
    counter: TokenCounter,
) -> impl Stream<Item = Result<Bytes, Interruption>> {
    let scan = WholeScan { scanner: Scanner::new(meaning), counter };
    stream::unfold(Some((body, scan)), |state| async move {
        let (mut body, mut scan) = state?;
        match body.next().await {
            Some(Ok(bytes)) => {
                scan.scanner.feed(&bytes);
                Some((Ok(bytes), Some((body, scan))))
            }
            Some(Err(interruption)) => {
                match &interruption {
                    Interruption::Upstream(break_off) => break_off.report(),
                    Interruption::Stopping(_) => scan.counter.record_break(),
                    Interruption::KeyRefused(_) => {}
                }
                Some((Err(interruption), None))
            }
            None => {
                if let Some(error) = &scan.scanner.facts().error {
                    scan.counter.report("the upstream reported an error", error);
                } else if scan.scanner.is_cut() {
                    scan.counter.report("the upstream ended a response before its end", "");
                }
                None
            }
        }
    })
}

/// Counts a response when it is dropped, whole or not.
struct WholeScan {
    scanner: Scanner,
    counter: TokenCounter,
}

impl Drop for WholeScan {
    fn drop(&mut self) {
        self.counter.add(self.scanner.facts());
    }
}
