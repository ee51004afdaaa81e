//! Names of keys: which characters they may contain, and when two names are equal.

use crate::text::{check_name, fold};

/// The longest name, in Unicode scalar values.
pub const MAX_NAME: usize = 64;

/// A checked name, as [`crate::text::parse_name`] stores names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Checks a name. The error says what to do.
    pub fn parse(text: &str) -> Result<Name, String> {
        check_name(text, MAX_NAME, "Enter a name.").map(Name)
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folded name; two names are equal if their folded names are.
    pub fn folded(&self) -> String {
        fold(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_trimmed_normalised_and_limited() {
        assert_eq!(Name::parse("  prod-batch ").map(|name| name.0), Ok("prod-batch".into()));
        assert_eq!(Name::parse("e\u{301}").map(|name| name.0), Ok("é".into()));
        assert!(Name::parse(&"é".repeat(64)).is_ok());
        for wrong in ["", "  ", &"a".repeat(65), "a\nb", "a\u{0}b", "a\u{202e}b", "a\u{2028}b", "a\u{200b}b"]
        {
            assert!(Name::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
