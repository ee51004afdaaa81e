//! Translates a stream of chat chunks into the form of `/v1/inference`: `{"delta": …}` for each piece of the output, then
//! `{"usage": …}` and `[DONE]`, or `{"error": …}`.

use actix_web::web::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::json;

use crate::gateway::event_stream::{Part, Reader, event};
use crate::gateway::observer::{Observer, Verdict};
use crate::gateway::protocol::DONE;
use crate::gateway::relay::Failure;
use crate::gateway::reply::{Interruption, Parts, unreadable};
use crate::gateway::upstream::failure::broken_off;

/// The longest event that is translated, in bytes.
const MAX_EVENT: usize = 1024 * 1024;

/// Translates a stream. Every failure becomes an event in it, also one before the first event.
pub fn translate(parts: Parts, observer: Observer) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let translation = Translation {
        parts,
        observer,
        reader: Reader::default(),
        data: Vec::new(),
        ready: String::new(),
        is_over: false,
    };
    stream::unfold(translation, |mut translation| async move {
        Some((Ok(translation.next().await?.into()), translation))
    })
}

struct Translation {
    parts: Parts,
    observer: Observer,
    reader: Reader,
    /// The data of the current event.
    data: Vec<u8>,
    /// Events to send.
    ready: String,
    is_over: bool,
}

impl Translation {
    /// The next events to send; `None` after the end.
    async fn next(&mut self) -> Option<String> {
        while !self.is_over {
            let done = match self.parts.next().await {
                Some(Ok(bytes)) => self.take(&bytes),
                // A connection that breaks after the end does no harm.
                Some(Err(Interruption::Upstream(_))) if self.observer.is_complete() => self.finish(),
                Some(Err(interruption)) => Err(interruption.into()),
                None => self.finish(),
            };
            if let Err(failure) = done {
                self.fail(&failure);
            }
            if !self.ready.is_empty() {
                return Some(std::mem::take(&mut self.ready));
            }
        }
        None
    }

    fn fail(&mut self, failure: &Failure) {
        self.is_over = true;
        if failure.is_break() {
            self.observer.record_break();
        }
        let problem = failure.problem();
        let error = json!({"code": problem.code.name(), "message": problem.detail});
        self.ready.push_str(&event(&json!({ "error": error }).to_string()));
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while let Some(part) = self.reader.next(&mut bytes) {
            match part {
                Part::Gap => {}
                Part::Data(data) => {
                    self.observer.take(data);
                    if self.data.len() + data.len() > MAX_EVENT {
                        return Err(self.unreadable("it is too long"));
                    }
                    self.data.extend_from_slice(data);
                }
                Part::Event(name) => self.end_event(&name)?,
            }
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    fn end_event(&mut self, name: &str) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Chunk<'a> {
            #[serde(borrow, default)]
            choices: Option<Vec<Choice<'a>>>,
        }
        #[derive(Deserialize)]
        struct Choice<'a> {
            #[serde(default)]
            index: u64,
            #[serde(borrow)]
            delta: Option<Delta<'a>>,
        }
        #[derive(Deserialize)]
        struct Delta<'a> {
            #[serde(borrow)]
            content: Option<std::borrow::Cow<'a, str>>,
        }
        let data = std::mem::take(&mut self.data);
        if let Verdict::Failed(error) = self.observer.end_event(name) {
            self.observer.report("the upstream reported an error in a stream", &error.message());
            return Err(Failure::Reported(error));
        }
        if data.trim_ascii() == DONE {
            self.end();
            return Ok(());
        }
        if data.trim_ascii().is_empty() {
            return Ok(());
        }
        let chunk: Chunk<'_> = serde_json::from_slice(&data)
            .map_err(|_| self.unreadable("it is no chunk of a chat completion"))?;
        for choice in chunk.choices.into_iter().flatten().filter(|choice| choice.index == 0) {
            let content = choice.delta.and_then(|delta| delta.content).unwrap_or_default();
            if !content.is_empty() {
                self.ready.push_str(&event(&json!({ "delta": content }).to_string()));
            }
        }
        Ok(())
    }

    /// The failure of an event that can't be translated.
    fn unreadable(&self, reason: &str) -> Failure {
        self.observer.report("the upstream sent an event that can't be read", reason);
        Failure::Broken(unreadable())
    }

    /// Ends the stream as the upstream did, which may have left out the end of the last event.
    fn finish(&mut self) -> Result<(), Failure> {
        if let Some(name) = self.reader.end() {
            self.end_event(&name)?;
        }
        if !self.observer.is_complete() {
            self.observer.report("the upstream ended a stream before its end", "");
            return Err(Failure::Broken(broken_off()));
        }
        if !self.is_over {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.is_over = true;
        let tokens = self.observer.tokens();
        let usage = json!({"input_tokens": tokens.input, "output_tokens": tokens.output});
        self.ready.push_str(&event(&json!({ "usage": usage }).to_string()));
        self.ready.push_str(&event("[DONE]"));
    }
}
