//! The format of a log line. JSON lines contain the time, the level, the fields and the module.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::log::level;
use crate::time::Time;
use crate::web::redact;

/// Writes an event as one JSON object. Events have no nested fields, so it avoids a serialiser's copies.
pub(super) struct Json;

impl<S, F> FormatEvent<S, F> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, F>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let data = event.metadata();
        let Some(level) = level::of(event) else { return Ok(()) };
        write!(out, "{{\"timestamp\":\"{}\",\"level\":\"{level}\"", Time::now().rfc3339_micros())?;
        let mut fields = Fields { out: &mut out, result: Ok(()) };
        event.record(&mut fields);
        fields.result?;
        writeln!(out, ",\"target\":\"{}\"}}", data.target())
    }
}

/// Writes an event as text for a terminal.
pub(super) struct Plain(pub(super) Format);

impl<S, F> FormatEvent<S, F> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, F>,
        out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if level::of(event).is_none() {
            return Ok(());
        }
        self.0.format_event(context, out, event)
    }
}

/// Writes a field for [`Plain`].
pub(super) fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    let text = format!("{value:?}");
    match field.name() {
        "message" => out.write_str(&redact::text(&text)),
        name => write!(out, "{name}={}", redact::text(&text)),
    }
}

/// Adds fields to an unfinished JSON object.
struct Fields<'a, 'w> {
    out: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Fields<'_, '_> {
    fn add(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        self.result = self.result.and_then(|()| {
            write!(self.out, ",\"{}\":", field.name())?;
            write(self.out)
        });
    }
}

impl Visit for Fields<'_, '_> {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        self.add(field, |out| if value.is_finite() { write!(out, "{value}") } else { out.write_str("null") });
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |out| write!(out, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |out| {
            out.write_char('"')?;
            Escaped(&mut *out).write_str(&redact::text(value))?;
            out.write_char('"')
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// Text inside a JSON string (RFC 8259 section 7).
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(index) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.0.write_str(&rest[..index])?;
            write!(self.0, "\\u{:04x}", rest.as_bytes()[index])?;
            rest = &rest[index + 1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::field::MakeExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_valid_json() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt().event_format(Json).with_writer(move || writer.clone()).finish();
        let hostile = "\"},{\"\\ \n\u{0}\u{1b}[31m é 🔑";
        tracing::subscriber::with_default(log, || {
            tracing::warn!(request = hostile, count = 7, took = 0.25, odd = f64::NAN, whole = true, cause = ?hostile, "said {hostile}");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(text.strip_suffix('\n').unwrap()).unwrap();
        assert_eq!(line["message"], format!("said {hostile}"));
        assert_eq!(line["request"], hostile);
        assert_eq!(line["cause"], format!("{hostile:?}"));
        assert_eq!((&line["count"], &line["took"], &line["odd"]), (&json!(7), &json!(0.25), &Value::Null));
        assert_eq!((&line["whole"], &line["level"]), (&json!(true), &json!("WARN")));
        assert!(line["target"].as_str().unwrap().starts_with("keydesk"));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    /// Returns what a subscriber with this format writes about the events that `emit` logs.
    fn log_of(format: impl Fn(Lines) -> Box<dyn tracing::Subscriber + Send + Sync>, emit: fn()) -> String {
        let lines = Lines::default();
        tracing::subscriber::with_default(format(lines.clone()), emit);
        let text = lines.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    fn as_json(lines: Lines) -> Box<dyn tracing::Subscriber + Send + Sync> {
        let log = tracing_subscriber::fmt().event_format(Json).with_max_level(tracing::Level::INFO);
        Box::new(log.with_writer(move || lines.clone()).finish())
    }

    fn as_text(lines: Lines) -> Box<dyn tracing::Subscriber + Send + Sync> {
        let fields = tracing_subscriber::fmt::format::debug_fn(write_field).delimited(" ");
        let log = tracing_subscriber::fmt()
            .fmt_fields(fields)
            .event_format(Plain(Format::default().with_ansi(false)));
        Box::new(log.with_writer(move || lines.clone()).finish())
    }

    #[test]
    fn no_format_shows_a_token() {
        const TOKEN: &str = "inv_01kb0000000000000000000000.0123456789abcdef0123456789abcdef01234567";
        let emit = || {
            let path = format!("/invitations/{TOKEN}");
            tracing::warn!(path, error = %format!("for url (https://x/reset-password?token={TOKEN})"), "sent {TOKEN}");
            tracing::error!(target: "hyper::proto", cause = ?path, "uri={path}");
        };
        for text in [log_of(as_json, emit), log_of(as_text, emit)] {
            assert!(!text.contains(TOKEN) && !text.contains("0123456789abcdef"), "{text}");
            assert_eq!(text.matches("/invitations/{token}").count(), 3, "{text}");
        }
    }

    #[test]
    fn only_errors_caused_by_clients_become_debug() {
        let emit = || {
            tracing::error!(target: "actix_http::h1::dispatcher", "stream error: request parse error: invalid header");
            tracing::error!(target: "actix_http::h1::dispatcher", "stream error: I/O error: broken pipe");
            tracing::warn!(target: "actix_session::middleware", "Invalid session key, ignoring.");
            tracing::error!(target: "actix_http::h1::dispatcher", "stream error: body error: kept");
            tracing::error!(target: "actix_server::accept", "Error accepting connection: kept");
            tracing::error!(target: "keydesk::web", "stream error: request parse error: kept");
        };
        for text in [log_of(as_json, emit), log_of(as_text, emit)] {
            assert_eq!((text.lines().count(), text.matches("kept").count()), (3, 3), "{text}");
            assert_eq!(text.matches("ERROR").count(), 3, "{text}");
        }
    }
}
