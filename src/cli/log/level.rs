//! The level of a log line. HTTP libraries log invalid requests as errors. Clients must not be able to
//! alarm an operator or fill the log with them, so these lines become debug lines.

use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level};

/// The beginnings of messages that clients cause, by library.
const CAUSED_BY_CLIENTS: [(&str, &[&str]); 2] = [
    (
        "actix_http",
        &[
            "stream error: request parse error",
            "stream error: I/O error",
            "stream error: request did not complete",
            "stream error: connection shutdown timeout",
            "stream error: handler dropped payload",
            "MAX_BUFFER_SIZE unprocessed data reached",
            "write zero",
            "Send data error",
        ],
    ),
    (
        "actix_session",
        &[
            "The session cookie attached to the incoming request failed",
            "Invalid session key",
            "No session state has been found",
        ],
    ),
];

/// Returns the level at which an event is logged, or `None` if it is not logged.
pub(super) fn of(event: &Event<'_>) -> Option<Level> {
    let data = event.metadata();
    let library = CAUSED_BY_CLIENTS.iter().find(|(library, _)| data.target().starts_with(library));
    let Some((_, beginnings)) = library.filter(|_| *data.level() < Level::DEBUG) else {
        return Some(*data.level());
    };
    let mut message = Message::default();
    event.record(&mut message);
    if !beginnings.iter().any(|beginning| message.0.starts_with(beginning)) {
        return Some(*data.level());
    }
    (LevelFilter::current() >= Level::DEBUG).then_some(Level::DEBUG)
}

/// The message of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
