//! Passes responses on to the client as they arrive, unchanged, and observes them.
//!
//! Of an event stream, at most one event of `MAX_HELD` bytes is held until its end, which a client waits for
//! anyway. So the event with the usage that only Keydesk requested can be removed. Other chunks keep the
//! `"usage": null` that OpenAI then adds to them: clients ignore it, and removing it would rewrite each chunk.

use std::borrow::Cow;
use std::ops::Range;

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde_json::Value;

use crate::gateway::event_stream::{Part, Reader, event};
use crate::gateway::observer::{Observer, Verdict};
use crate::gateway::protocol::StreamError;
use crate::gateway::reply::{Interruption, Parts};
use crate::gateway::tokens::{Member, Scanner, TokenCounter};
use crate::gateway::upstream::failure::broken_off;
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

    /// The data of the event that tells a client of the OpenAI API.
    fn event(&self) -> Value {
        match self {
            Failure::Reported(error) => error.event(),
            Failure::Broken(problem) | Failure::KeyRefused(problem) => problem.event(),
        }
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
                Failure::Broken(break_off.problem())
            }
            Interruption::KeyRefused(problem) => Failure::KeyRefused(problem),
            Interruption::Stopping(problem) => Failure::Broken(problem),
        }
    }
}

/// Passes an event stream on. Every failure becomes an event in it, also one before the first event: a client that
/// repeats requests after HTTP errors does so exactly as often as without Keydesk.
pub fn events(events: Parts, observer: Observer) -> impl Stream<Item = Result<Bytes, Interruption>> {
    let relay = Relay {
        events,
        observer,
        reader: Reader::default(),
        held: Vec::new(),
        is_released: false,
        is_over: false,
    };
    stream::unfold(relay, |mut relay| async move { Some((Ok(relay.next().await?), relay)) })
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

impl Relay {
    /// The next bytes to send; `None` after the end.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.is_over {
            let bytes = match self.events.next().await {
                Some(Ok(bytes)) => self.take(&bytes),
                // A connection that breaks after the end does no harm.
                Some(Err(Interruption::Upstream(_))) if self.observer.is_complete() => self.finish(),
                Some(Err(interruption)) => self.end(&interruption.into()).into(),
                None => self.finish(),
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
        None
    }

    /// Takes bytes of the upstream.
    fn take(&mut self, chunk: &Bytes) -> Bytes {
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
                    return [&out.finish()[..], &self.fail(error, event)].concat().into();
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
        out.finish()
    }

    /// Ends the stream as the upstream did, which may have left out the end of the last event.
    fn finish(&mut self) -> Bytes {
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
                Verdict::Failed(error) => return self.fail(error, last).into(),
            }
            self.is_released = false;
        }
        if !self.observer.is_complete() {
            self.observer.report("the upstream ended a stream before its end", "");
            last.extend(self.end(&Failure::Broken(broken_off())));
        }
        last.into()
    }

    /// Ends the stream because the upstream reported an error in this event. Returns the event to send.
    fn fail(&mut self, error: StreamError, event: Vec<u8>) -> Vec<u8> {
        self.observer.report("the upstream reported an error in a stream", &error.message());
        if error.may_be_passed_on() {
            self.is_over = true;
            return event;
        }
        self.end(&Failure::Reported(error))
    }

    /// Ends the stream. Returns the event that names the failure.
    fn end(&mut self, failure: &Failure) -> Vec<u8> {
        self.is_over = true;
        if failure.is_break() {
            self.observer.record_break();
        }
        // The part of an event that was passed on must not become a part of this one.
        let gap = if self.is_released { "\n\n" } else { "" };
        format!("{gap}{}", event(&failure.event().to_string())).into()
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
