//! Server-sent events (WHATWG HTML, section 9.2.6), as far as answers of models use them.

/// Takes the data of events out of bytes that come in any pieces.
#[derive(Default)]
pub struct Parser {
    line: Vec<u8>,
    data: Vec<String>,
}

impl Parser {
    /// The data of the events that these bytes complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if let Some(data) = line.strip_prefix("data:") {
                self.data.push(data.strip_prefix(' ').unwrap_or(data).to_owned());
            } else if line.is_empty() && !self.data.is_empty() {
                complete.push(std::mem::take(&mut self.data).join("\n"));
            }
        }
        complete
    }
}

/// An event with this data.
pub fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let text =
            b": comment\nevent: x\r\ndata: {\"a\": 1}\r\n\r\ndata:two\ndata: lines\n\ndata: [DONE]\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let found: Vec<String> = text.chunks(size).flat_map(|part| parser.feed(part)).collect();
            assert_eq!(found, ["{\"a\": 1}", "two\nlines", "[DONE]"], "in pieces of {size}");
        }
    }
}
