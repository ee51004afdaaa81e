//! The facts about a request, a response or an event.

use std::collections::BTreeMap;

use crate::gateway::tokens::member::Member;
use crate::gateway::tokens::usage::Reported;

/// The estimated number of characters per token, if the upstream doesn't report tokens.
pub const CHARACTERS_PER_TOKEN: usize = 4;
/// The most choices of a response that are counted separately. OpenAI allows 128.
pub const MAX_CHOICES: usize = 1024;

/// What is known about a JSON text.
#[derive(Debug, Default)]
pub struct Facts {
    /// The tokens that it reports.
    pub reported: Reported,
    /// Whether it reports tokens, even if none can be read.
    pub has_usage: bool,
    /// The error that it reports, as JSON, if it is not too long to be read.
    pub error: Option<String>,
    /// The member `type`, which names the kind of an event.
    pub kind: String,
    /// Whether each choice is finished, and with what reason.
    pub choices: BTreeMap<u64, Option<String>>,
    text: usize,
    /// Two names of the same text: some servers send it under both.
    reasoning: [usize; 2],
    delta: usize,
    added_name: usize,
    /// The choice that is being read.
    choice: (Option<u64>, Option<String>),
}

impl Facts {
    /// The number of characters of text.
    pub fn characters(&self) -> usize {
        // An event that adds an item has its name; the one that ends the item repeats it.
        let added = if self.kind == "response.output_item.added" { self.added_name } else { 0 };
        let delta = if self.kind.ends_with("audio.delta") { 0 } else { self.delta };
        self.text + self.reasoning[0].max(self.reasoning[1]) + delta + added
    }

    /// Counts characters of a text of this meaning.
    pub(super) fn count(&mut self, member: Member, characters: usize) {
        match member {
            Member::Text | Member::Everything => self.text += characters,
            Member::ReasoningContent => self.reasoning[0] += characters,
            Member::Reasoning => self.reasoning[1] += characters,
            Member::Delta => self.delta += characters,
            Member::AddedName => self.added_name += characters,
            _ => {}
        }
    }

    /// Takes a value that was read. Values that are too long are cut and no valid JSON.
    pub(super) fn take(&mut self, member: Member, value: &[u8]) {
        let json = || serde_json::from_slice::<serde_json::Value>(value).ok();
        match member {
            Member::Usage => {
                self.has_usage |= value.first() == Some(&b'{');
                if let Some(usage) = json() {
                    self.reported.update(&Reported::read(&usage));
                }
            }
            Member::Error if !matches!(value, b"null" | b"false" | b"\"\"" | b"{}" | b"[]") => {
                let error = json().map_or_else(|| "null".to_owned(), |error| error.to_string());
                self.error.get_or_insert(error);
            }
            Member::Kind => {
                self.kind = json().and_then(|kind| Some(kind.as_str()?.to_owned())).unwrap_or_default();
            }
            Member::Index => self.choice.0 = json().and_then(|index| index.as_u64()),
            Member::FinishReason => {
                self.choice.1 = json().and_then(|reason| Some(reason.as_str()?.to_owned()));
            }
            _ => {}
        }
    }

    /// Ends a choice.
    pub(super) fn end_choice(&mut self) {
        let (index, reason) = std::mem::take(&mut self.choice);
        let index = index.unwrap_or(0);
        if self.choices.len() < MAX_CHOICES || self.choices.contains_key(&index) {
            let known = self.choices.entry(index).or_default();
            *known = reason.or(known.take());
        }
    }
}
