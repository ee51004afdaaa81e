//! The parameters of a list: filters, order and page number, all in the address.

use crate::web::form::Fields;
use crate::web::problem::{Code, Problem};

/// The highest page number that an address may name.
const LAST_PAGE: i64 = 1_000_000;
/// The longest filter, in characters.
const LONGEST: usize = 200;

/// Reads the parameters of a list. An invalid value is refused with 400 and its name.
pub struct ListQuery<'a>(pub &'a Fields);

impl ListQuery<'_> {
    /// A text without control characters, trimmed; empty if it is missing.
    pub fn text(&self, name: &str) -> Result<String, Problem> {
        let text = self.0.get(name).trim();
        let is_valid = text.chars().count() <= LONGEST && !text.chars().any(char::is_control);
        if is_valid { Ok(text.to_owned()) } else { Err(invalid_parameter(name)) }
    }

    /// The page number, from 1.
    pub fn page(&self) -> Result<i64, Problem> {
        let page = self.number("page")?.unwrap_or(1);
        if (1..=LAST_PAGE).contains(&page) { Ok(page) } else { Err(invalid_parameter("page")) }
    }

    /// A number; `None` if it is missing.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        self.choice(name, |text| text.parse().ok())
    }

    /// A value that `parse` knows; `None` if it is missing.
    pub fn choice<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        match self.0.get(name) {
            "" => Ok(None),
            text => parse(text).map(Some).ok_or_else(|| invalid_parameter(name)),
        }
    }

    /// Whether the order is reversed.
    pub fn is_reversed(&self) -> bool {
        self.0.get("dir") == "reversed"
    }
}

/// The answer to an address with an invalid parameter.
pub fn invalid_parameter(name: &str) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!("The value of “{name}” in the address is invalid. Go back and choose again."),
    )
}
