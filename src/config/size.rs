//! Numbers of bytes.

use std::fmt;

/// A number of bytes, written such as `32MiB`, `100MB` or `65536`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// The largest first, so that sizes are shown with the largest unit that divides them.
const UNITS: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// Parses a whole number with an optional unit, in any case.
    pub(super) fn parse(text: &str) -> Option<ByteSize> {
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = (text[..end].parse::<usize>().ok()?, text[end..].trim());
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, bytes) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        number.checked_mul(*bytes).map(ByteSize)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = UNITS.iter().find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        let (name, bytes) = fitting.unwrap_or(&("B", 1));
        write!(f, "{} {name}", self.0 / bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown_with_units() {
        for (text, bytes, shown) in [
            ("32MiB", 33_554_432, "32 MiB"),
            ("100MB", 100_000_000, "100 MB"),
            ("1 gib", 1 << 30, "1 GiB"),
            ("65536", 65_536, "64 KiB"),
            ("1500", 1500, "1500 B"),
            ("0", 0, "0 B"),
        ] {
            let size = ByteSize::parse(text).expect(text);
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        for wrong in ["", "MiB", "1.5MiB", "-1", "1 mega", "99999999999999999999", "99999999999GiB"] {
            assert_eq!(ByteSize::parse(wrong), None, "{wrong}");
        }
    }
}
