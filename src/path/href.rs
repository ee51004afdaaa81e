//! The addresses to which links within this server lead.

use std::fmt::{self, Display, Write};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// Characters to encode within a segment of a path: all but the unreserved (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The start page.
const HOME: &str = "/";

/// The longest address that is accepted from a client, in bytes.
const MAX_LENGTH: usize = 2000;

/// The address of a link within this server: a path with its query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Href(String);

impl Href {
    pub(super) fn new(path: String) -> Href {
        Href(path)
    }

    /// An address that a client sent, such as the page to open after signing in. `None` if it could lead
    /// to another server.
    pub fn parse(text: &str) -> Option<Href> {
        let is_path = text.starts_with('/') && !text.starts_with("//");
        let is_clean = !text.contains('\\') && text.chars().all(|letter| letter.is_ascii_graphic());
        (is_path && is_clean && text.len() <= MAX_LENGTH).then(|| Href(text.to_owned()))
    }

    /// The page that a client wants to open next; the start page if the address is missing or could
    /// lead to another server.
    pub fn next(text: &str) -> Href {
        Href::parse(text).unwrap_or_else(|| Href(HOME.to_owned()))
    }

    /// Adds the page to open next, unless it is the start page.
    pub fn then(self, next: impl AsRef<Href>) -> Href {
        let next = next.as_ref();
        if next.0 == HOME { self } else { self.query("next", next) }
    }

    /// Adds a parameter to the query.
    pub fn query(self, name: &str, value: impl Display) -> Href {
        self.queries([(name, value.to_string())])
    }

    /// Adds the fields of a form or the pairs of a list to the query; `None` adds nothing.
    pub fn queries(self, fields: impl Serialize) -> Href {
        // Only a map or a list of pairs has fields; others are programming errors.
        let query = serde_html_form::to_string(fields).unwrap_or_default();
        if query.is_empty() {
            return self;
        }
        let separator = if self.0.contains('?') { '&' } else { '?' };
        Href(format!("{}{separator}{query}", self.0))
    }

    /// The address of an element of the page.
    pub fn fragment(self, id: &str) -> Href {
        Href(format!("{}#{id}", self.0))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<Href> for Href {
    fn as_ref(&self) -> &Href {
        self
    }
}

impl Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A parameter in a path: percent-encoded.
pub(super) struct Segment<'a, T: ?Sized>(pub(super) &'a T);

impl<T: Display + ?Sized> Display for Segment<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Encoder(f), "{}", self.0)
    }
}

struct Encoder<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Encoder<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        utf8_percent_encode(text, ENCODED).try_for_each(|part| self.0.write_str(part))
    }
}
