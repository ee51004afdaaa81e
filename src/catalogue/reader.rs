//! Reads the members of TOML tables one by one. Each problem has the place in the file, and no message
//! quotes a value, which could be a credential in the wrong place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong at a place of the file, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Byte offset.
    pub(super) offset: usize,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Problem {
        Problem { offset, message: message.into() }
    }
}

pub(super) type Result<T> = std::result::Result<T, Problem>;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) offset: usize,
    pub(super) value: T,
}

impl<T> At<T> {
    /// A problem with this value.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.offset, message)
    }

    /// Checks the value. The error says what to do.
    pub(super) fn check<U>(&self, check: impl FnOnce(&T) -> std::result::Result<U, String>) -> Result<U> {
        check(&self.value).map_err(|message| self.problem(message))
    }
}

/// A table whose members are taken out one by one.
pub(super) struct Reader<'i> {
    /// How messages name the table.
    name: &'static str,
    offset: usize,
    members: DeTable<'i>,
    /// The members that were looked for.
    known: Vec<&'static str>,
}

impl<'i> Reader<'i> {
    /// Parses a whole file.
    pub(super) fn parse(text: &'i str) -> Result<Reader<'i>> {
        let table = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span: Range<usize>| span.start);
            Problem::new(offset, format!("This is not valid TOML: {}.", error.message()))
        })?;
        Ok(Reader { name: "file", offset: 0, members: table.into_inner(), known: Vec::new() })
    }

    fn take(&mut self, member: &'static str) -> Option<At<DeValue<'i>>> {
        self.known.push(member);
        let value: Spanned<DeValue<'i>> = self.members.remove(member)?;
        Some(At { offset: value.span().start, value: value.into_inner() })
    }

    /// A problem with the whole table.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(self.offset, message)
    }

    fn missing(&self, member: &str) -> Problem {
        self.problem(format!("Add `{member}` to this {}.", self.name))
    }

    /// A string, if the member is there.
    pub(super) fn text(&mut self, member: &'static str) -> Result<Option<At<String>>> {
        self.take(member).map(|value| as_text(value, member)).transpose()
    }

    /// A string that has to be there.
    pub(super) fn required_text(&mut self, member: &'static str) -> Result<At<String>> {
        self.text(member)?.ok_or_else(|| self.missing(member))
    }

    /// A list of strings that has to be there.
    pub(super) fn texts(&mut self, member: &'static str) -> Result<At<Vec<At<String>>>> {
        let list = self.take(member).ok_or_else(|| self.missing(member))?;
        let DeValue::Array(entries) = list.value else {
            return Err(Problem::new(list.offset, format!("Write `{member}` as a list: [\"…\", \"…\"].")));
        };
        let texts = entries
            .into_iter()
            .map(|entry| as_text(At { offset: entry.span().start, value: entry.into_inner() }, member));
        Ok(At { offset: list.offset, value: texts.collect::<Result<_>>()? })
    }

    /// A whole number from 1 to `most`, if the member is there.
    pub(super) fn count(&mut self, member: &'static str, most: u32) -> Result<Option<u32>> {
        let Some(found) = self.take(member) else { return Ok(None) };
        let number = match &found.value {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let number = number.and_then(|number| u32::try_from(number).ok());
        match number.filter(|number| (1..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(found.problem(format!("Write `{member}` as a whole number from 1 to {most}."))),
        }
    }

    /// The tables of `[[member]]`; none if the member is missing.
    pub(super) fn tables(&mut self, member: &'static str, name: &'static str) -> Result<Vec<Reader<'i>>> {
        let Some(found) = self.take(member) else { return Ok(Vec::new()) };
        let wrong = |offset| Problem::new(offset, format!("Begin each {member} with a line {name}."));
        let DeValue::Array(entries) = found.value else { return Err(wrong(found.offset)) };
        let tables = entries.into_iter().map(|entry| {
            let offset = entry.span().start;
            as_table(At { offset, value: entry.into_inner() }, name).ok_or_else(|| wrong(offset))
        });
        tables.collect()
    }

    /// A table, if the member is there.
    pub(super) fn table(&mut self, member: &'static str) -> Result<Option<Reader<'i>>> {
        let Some(found) = self.take(member) else { return Ok(None) };
        let offset = found.offset;
        let wrong = || Problem::new(offset, format!("Write `{member}` as a table: {{ … }}."));
        as_table(found, member).ok_or_else(wrong).map(Some)
    }

    /// Checks that no member is left over.
    pub(super) fn finish(self) -> Result<()> {
        match self.members.into_iter().map(|(member, _)| member).min_by_key(|member| member.span().start) {
            None => Ok(()),
            Some(unknown) => {
                let name: String = unknown.get_ref().chars().take(40).collect();
                let known = self.known.join(", ");
                let message = format!("A {} has no member {name:?}. Use {known}.", self.name);
                Err(Problem::new(unknown.span().start, message))
            }
        }
    }
}

fn as_text(found: At<DeValue<'_>>, member: &str) -> Result<At<String>> {
    let At { offset, value } = found;
    match value {
        DeValue::String(text) => Ok(At { offset, value: text.into_owned() }),
        _ => Err(Problem::new(offset, format!("Write `{member}` as a string, in quotes."))),
    }
}

fn as_table<'i>(found: At<DeValue<'i>>, name: &'static str) -> Option<Reader<'i>> {
    let DeValue::Table(members) = found.value else { return None };
    Some(Reader { name, offset: found.offset, members, known: Vec::new() })
}
