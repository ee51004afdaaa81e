//! Server-sent events, read by the rules of the WHATWG (HTML, section 9.2.6).
//!
//! Own code, because the crates for this (eventsource-stream, sse-stream) collect events of any length and give back
//! only their data, while Keydesk passes the bytes on unchanged and holds a bounded part of them.

/// The longest field name that has a meaning, with a byte order mark.
const MAX_FIELD: usize = 8;
/// The longest event name that has a meaning.
const MAX_NAME: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A part of an event stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Data of the event, to be appended to the data before.
    Data(&'a [u8]),
    /// The event with the data so far ends here. It has this name, which may be empty.
    Event(String),
    /// A comment or an empty line ends here, outside an event.
    Gap,
}

/// Finds events in bytes that arrive in any pieces. Holds a few bytes of them.
#[derive(Default)]
pub struct Reader {
    /// The field of the current line, if its name is known.
    field: Option<Field>,
    /// The beginning of the line, until the field is known.
    start: Vec<u8>,
    /// Whether a space may follow that is no part of the value.
    is_after_colon: bool,
    /// Whether a line ended with CR, so that a LF would belong to its end.
    is_after_cr: bool,
    is_after_first_line: bool,
    /// Whether the event has a line that is no comment.
    has_fields: bool,
    has_data: bool,
    name: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Comment,
    Data,
    Event,
    Other,
}

impl Reader {
    /// The next part of the stream, removed from `bytes`; `None` when all bytes are read.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        loop {
            let first = *bytes.first()?;
            if std::mem::take(&mut self.is_after_cr) && first == b'\n' {
                *bytes = &bytes[1..];
                if self.has_fields {
                    continue;
                }
                return Some(Part::Gap);
            }
            if std::mem::take(&mut self.is_after_colon) && first == b' ' {
                *bytes = &bytes[1..];
                continue;
            }
            let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n') || (self.field.is_none() && *byte == b':');
            let length = bytes.iter().position(is_end).unwrap_or(bytes.len());
            let (part, rest) = bytes.split_at(length);
            if length > 0 {
                *bytes = rest;
                match self.field {
                    None => extend(&mut self.start, part, MAX_FIELD),
                    Some(Field::Event) => extend(&mut self.name, part, MAX_NAME),
                    Some(Field::Data) => return Some(Part::Data(part)),
                    Some(Field::Comment | Field::Other) => {}
                }
                continue;
            }
            *bytes = &rest[1..];
            if first == b':' {
                self.is_after_colon = true;
                if self.begin_field() {
                    return Some(Part::Data(b"\n"));
                }
                continue;
            }
            if first == b'\r' {
                match bytes.split_first() {
                    Some((b'\n', after)) => *bytes = after,
                    Some(_) => {}
                    None => self.is_after_cr = true,
                }
            }
            if let Some(part) = self.end_line() {
                return Some(part);
            }
        }
    }

    /// Ends the stream. Returns the name of an event whose end is missing, but which has data.
    pub fn end(&mut self) -> Option<String> {
        match self.end_event() {
            Part::Event(name) => Some(name),
            _ => None,
        }
    }

    /// Reads the name of the field. Returns whether the event already has data, which a line feed separates.
    fn begin_field(&mut self) -> bool {
        let start = std::mem::take(&mut self.start);
        let name = self.without_mark(&start);
        let field = match name {
            b"" => Field::Comment,
            b"data" => Field::Data,
            b"event" => Field::Event,
            _ => Field::Other,
        };
        self.field = Some(field);
        self.is_after_first_line = true;
        self.has_fields |= field != Field::Comment;
        match field {
            Field::Data => std::mem::replace(&mut self.has_data, true),
            Field::Event => {
                self.name.clear();
                false
            }
            Field::Comment | Field::Other => false,
        }
    }

    fn end_line(&mut self) -> Option<Part<'static>> {
        match self.field.take() {
            Some(Field::Comment) => return (!self.has_fields).then_some(Part::Gap),
            Some(_) => return None,
            None => {}
        }
        let is_empty = self.without_mark(&self.start).is_empty();
        if is_empty {
            self.start.clear();
            self.is_after_first_line = true;
            return Some(self.end_event());
        }
        // A field without a colon has an empty value.
        let continues = self.begin_field();
        self.field = None;
        continues.then_some(Part::Data(b"\n"))
    }

    fn end_event(&mut self) -> Part<'static> {
        self.has_fields = false;
        let name = std::mem::take(&mut self.name);
        if std::mem::take(&mut self.has_data) {
            Part::Event(String::from_utf8_lossy(&name).into_owned())
        } else {
            Part::Gap
        }
    }

    fn without_mark<'a>(&self, start: &'a [u8]) -> &'a [u8] {
        if self.is_after_first_line {
            return start;
        }
        start.strip_prefix(BYTE_ORDER_MARK).unwrap_or(start)
    }
}

/// Appends as much as matters; more than `most` bytes have no meaning.
fn extend(buffer: &mut Vec<u8>, part: &[u8], most: usize) {
    let room = (most + 1).saturating_sub(buffer.len());
    buffer.extend_from_slice(&part[..part.len().min(room)]);
}

/// Formats an event with this data.
pub fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names and data of the events, read in pieces of this size.
    fn read(text: &[u8], size: usize) -> Vec<(String, String)> {
        let (mut reader, mut data, mut found) = (Reader::default(), Vec::new(), Vec::new());
        for mut piece in text.chunks(size) {
            while let Some(part) = reader.next(&mut piece) {
                match part {
                    Part::Data(part) => data.extend_from_slice(part),
                    Part::Event(name) => {
                        found.push((name, String::from_utf8_lossy(&std::mem::take(&mut data)).into_owned()));
                    }
                    Part::Gap => assert!(data.is_empty()),
                }
            }
            let held = reader.start.len() + reader.name.len();
            assert!(held <= MAX_FIELD + MAX_NAME + 2, "{held}");
        }
        if let Some(name) = reader.end() {
            found.push((name, String::from_utf8_lossy(&data).into_owned()));
        }
        found
    }

    #[test]
    fn events_are_found_however_lines_end_and_the_bytes_are_cut() {
        let lines = ": comment\nevent: x\ndata: {\"a\": 1}\n\ndata:two\ndata: lines\nid: 7\n\n\ndata\n\nevent: empty\n\n\
             data:  spaced\nretry: 10\ndatax: no\n\ndata: [DONE]\n\n";
        let expected = [("x", "{\"a\": 1}"), ("", "two\nlines"), ("", ""), ("", " spaced"), ("", "[DONE]")];
        for end in ["\n", "\r", "\r\n"] {
            for mark in ["", "\u{feff}"] {
                let text = format!("{mark}{}", lines.replace('\n', end));
                for size in 1..text.len() {
                    let found = read(text.as_bytes(), size);
                    let found: Vec<_> = found.iter().map(|(name, data)| (&**name, &**data)).collect();
                    assert_eq!(found, expected, "{end:?} {mark:?} in pieces of {size}");
                }
            }
        }
    }

    #[test]
    fn a_mark_counts_only_at_the_start_and_may_precede_data() {
        for size in 1..8 {
            let found = read("\u{feff}data: a\n\n\u{feff}data: b\n\ndata: c\n\n".as_bytes(), size);
            assert_eq!(found, [(String::new(), "a".to_owned()), (String::new(), "c".to_owned())]);
        }
    }

    #[test]
    fn a_last_event_without_its_empty_line_is_found_at_the_end() {
        for text in [
            "data: a\n\ndata: b",
            "data: a\n\ndata: b\n",
            "data: a\r\rdata: b\r",
            "data: a\r\n\r\ndata: b\r\n",
        ] {
            let found = read(text.as_bytes(), 3);
            assert_eq!(found, [(String::new(), "a".to_owned()), (String::new(), "b".to_owned())], "{text:?}");
        }
        assert_eq!(read(b"event: x\n", 3), []);
    }

    #[test]
    fn comments_and_the_second_half_of_a_line_end_are_gaps_that_need_not_wait() {
        let mut reader = Reader::default();
        for (text, is_gap) in
            [(": hello\n", true), ("\r", true), ("\n", true), ("event: x\n", false), (": inside\n", false)]
        {
            let mut bytes = text.as_bytes();
            assert_eq!(reader.next(&mut bytes) == Some(Part::Gap), is_gap, "{text:?}");
        }
    }
}
