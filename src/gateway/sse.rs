//! Server-sent events (WHATWG HTML, section 9.2.6), as far as model responses use them.

use std::collections::VecDeque;

/// The longest event that is collected whole, in bytes.
pub const MAX_EVENT: usize = 32 * 1024;
/// How many bytes of the end of a longer event are kept.
const TAIL: usize = 4 * 1024;

/// The data of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    Whole(String),
    /// The end of an event that is too long to be collected whole.
    Tail(Vec<u8>),
}

/// Extracts the data of events from bytes that arrive in any pieces. Holds at most one event of
/// [`MAX_EVENT`] bytes, whatever an upstream sends.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
    /// Whether the event has any data, which may be empty.
    has_data: bool,
    /// The end of an event that has become too long.
    tail: Option<VecDeque<u8>>,
}

impl Parser {
    /// Returns the data of the events that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Data> {
        let mut complete = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            match part.strip_suffix(b"\n") {
                None => self.collect(part),
                Some(end) => {
                    self.collect(end);
                    complete.extend(self.end_line());
                }
            }
        }
        complete
    }

    fn collect(&mut self, part: &[u8]) {
        if self.tail.is_none() && self.line.len() + self.data.len() + part.len() > MAX_EVENT {
            self.data = Vec::new();
            self.tail = Some(VecDeque::with_capacity(TAIL));
        }
        let Some(tail) = &mut self.tail else { return self.line.extend_from_slice(part) };
        // Of a line in such an event, it only matters whether it is empty.
        self.line.truncate(1);
        if self.line.is_empty() {
            self.line.extend(part.first());
            self.line.extend(part.get(1).map(|_| b'x'));
        } else if !part.is_empty() {
            self.line.push(b'x');
        }
        let part = &part[part.len().saturating_sub(TAIL)..];
        let excess = (tail.len() + part.len()).saturating_sub(TAIL);
        tail.drain(..excess);
        tail.extend(part);
    }

    fn end_line(&mut self) -> Option<Data> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if line.is_empty() {
            if let Some(tail) = self.tail.take() {
                self.has_data = false;
                return Some(Data::Tail(tail.into()));
            }
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data)
                .then(|| Data::Whole(String::from_utf8_lossy(&data).into_owned()));
        }
        if self.tail.is_none()
            && let Some(data) = line.strip_prefix(b"data:")
        {
            if self.has_data {
                self.data.push(b'\n');
            }
            self.has_data = true;
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
        }
        None
    }
}

/// Formats an event with this data.
pub fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Data {
        Data::Whole(text.to_owned())
    }

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let text =
            b": comment\nevent: x\r\ndata: {\"a\": 1}\r\n\r\ndata:two\ndata: lines\n\ndata: [DONE]\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let found: Vec<Data> = text.chunks(size).flat_map(|part| parser.feed(part)).collect();
            assert_eq!(
                found,
                [whole("{\"a\": 1}"), whole("two\nlines"), whole("[DONE]")],
                "in pieces of {size}"
            );
        }
    }

    #[test]
    fn overlong_event_keeps_its_end_and_does_not_affect_others() {
        let long = format!("data: {}the end\r\n\r\ndata: next\n\n", "x".repeat(5 * MAX_EVENT));
        let lines = format!("{}data: the end\n\ndata: next\n\n", "data: line\n".repeat(MAX_EVENT));
        for (text, size) in [(&long, 1), (&long, 1000), (&long, usize::MAX), (&lines, 7), (&lines, 8192)] {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in text.as_bytes().chunks(size.min(text.len())) {
                found.extend(parser.feed(part));
                let held = parser.line.capacity() + parser.data.capacity();
                assert!(held <= 4 * MAX_EVENT, "{held}");
            }
            let [Data::Tail(tail), next] = &found[..] else { panic!("{} events", found.len()) };
            assert!(tail.len() <= TAIL && String::from_utf8_lossy(tail).contains("the end"));
            assert_eq!(*next, whole("next"));
        }
    }
}
