//! Putting sentences together out of pieces: what identifiers name, scopes, changed settings.

use std::borrow::Cow;

use serde_json::Value;

use crate::audit::event::Change;
use crate::audit::sentence::Piece;
use crate::id::{KeyId, UserId};
use crate::scope::Scopes;
use crate::time::Time;

/// A sentence in the making.
#[derive(Debug, Default)]
pub(super) struct Sentence(pub(super) Vec<Piece>);

impl Sentence {
    pub(super) fn and(mut self, piece: Piece) -> Sentence {
        self.0.push(piece);
        self
    }

    pub(super) fn text(self, words: &str) -> Sentence {
        self.and(Piece::Text(words.to_owned()))
    }

    pub(super) fn code(self, text: &str) -> Sentence {
        self.and(Piece::Code(text.to_owned()))
    }

    pub(super) fn name(self, text: &str) -> Sentence {
        self.and(Piece::Name(text.to_owned()))
    }

    pub(super) fn number(self, number: u32) -> Sentence {
        self.and(Piece::Number(number.into()))
    }

    pub(super) fn person(self, id: UserId) -> Sentence {
        self.and(Piece::Person(id))
    }

    pub(super) fn time(self, at: Time) -> Sentence {
        self.and(Piece::Time(at))
    }

    /// Whatever an identifier names.
    pub(super) fn target(self, id: &str) -> Sentence {
        if let Some(key) = KeyId::parse(id) {
            return self.and(Piece::Key(key));
        }
        match UserId::parse(id) {
            Some(person) => self.and(Piece::Person(person)),
            None if id.starts_with("org_") => self.text("the organisation"),
            None => self.code(id),
        }
    }

    pub(super) fn scopes(mut self, scopes: Scopes) -> Sentence {
        for (place, scope) in scopes.names().into_iter().enumerate() {
            self = if place > 0 { self.text(", ") } else { self }.code(scope);
        }
        self
    }

    /// A finding of the review: the scope that it is about, or its kind in words.
    pub(super) fn finding(self, kind: &str, scope: Option<&str>) -> Sentence {
        match scope {
            Some(scope) => self.code(scope),
            None => self.text(&kind.replace('_', " ")),
        }
    }

    /// "the limit of prod: 600 → 1,200 a minute", or "the limit and the description of prod".
    pub(super) fn changes(self, changes: &[Change], target: &str) -> Sentence {
        if let [change] = changes {
            let of = if change.field == "answerers" { " for " } else { " of " };
            return self.text(&setting(&change.field)).text(of).target(target).change(change);
        }
        let mut sentence = self;
        for (place, change) in changes.iter().enumerate() {
            let joint = match place {
                0 => "",
                _ if place + 1 == changes.len() => " and ",
                _ => ", ",
            };
            sentence = sentence.text(joint).text(&setting(&change.field));
        }
        sentence.text(" of ").target(target)
    }

    /// What was before and after, for one change.
    fn change(self, change: &Change) -> Sentence {
        let (before, after) = (&change.before, &change.after);
        match &*change.field {
            // Texts are too long for a sentence; the entry's own page has them.
            "description" => self,
            // Names of people stay out of the log.
            _ if before.is_null() && after.is_null() => self,
            "scopes" => {
                let scopes = |value: &Value| serde_json::from_value::<Scopes>(value.clone()).ok();
                let (Some(before), Some(after)) = (scopes(before), scopes(after)) else { return self };
                let (removed, added) = (before.without(after), after.without(before));
                match (removed.is_empty(), added.is_empty()) {
                    (false, true) => self.text(": removed ").scopes(removed),
                    (true, _) => self.text(": added ").scopes(added),
                    _ => self.text(": removed ").scopes(removed).text(", added ").scopes(added),
                }
            }
            "requests_per_minute" => self.text(": ").value(before).text(" → ").value(after).text(" a minute"),
            _ => self.text(": ").value(before).text(" → ").value(after),
        }
    }

    /// A value as a person reads it.
    pub(super) fn value(self, value: &Value) -> Sentence {
        match value {
            Value::Null => self.text("none"),
            Value::Bool(yes) => self.text(if *yes { "yes" } else { "no" }),
            Value::Number(number) => match number.as_i64() {
                Some(number) => self.and(Piece::Number(number)),
                None => self.text(&number.to_string()),
            },
            Value::String(text) => match (Time::parse(text), UserId::parse(text), KeyId::parse(text)) {
                (Some(at), _, _) => self.time(at),
                (_, Some(person), _) => self.person(person),
                (_, _, Some(key)) => self.and(Piece::Key(key)),
                _ if text.is_empty() => self.text("none"),
                _ => self.name(text),
            },
            Value::Array(values) if values.is_empty() => self.text("none"),
            Value::Array(values) => values.iter().enumerate().fold(self, |sentence, (place, value)| {
                if place > 0 { sentence.text(", ") } else { sentence }.value(value)
            }),
            Value::Object(_) => self.code(&value.to_string()),
        }
    }
}

/// A value as the pieces that a person reads.
pub fn value(value: &Value) -> Vec<Piece> {
    Sentence::default().value(value).0
}

/// A setting in a sentence: "the limit", and "the tokens per minute" for a name that [`field`] does not
/// know.
fn setting(name: &str) -> Cow<'_, str> {
    match field(name) {
        words if words == name => format!("the {}", name.replace('_', " ")).into(),
        words => words.into(),
    }
}

/// A setting in words.
pub fn field(name: &str) -> &str {
    match name {
        "description" => "the description",
        "scopes" => "the scopes",
        "expires_at" => "the end",
        "requests_per_minute" => "the limit",
        "allowed_ips" => "the allowed addresses",
        "owner" => "the owner",
        "backup" => "the backup",
        "disabled" => "whether it is disabled",
        "self_rotate" => "whether it may rotate itself",
        "longest_life_days" => "the longest life of keys, in days,",
        "keys_without_end" => "who may make keys without an end, a rule",
        "default_expiry_days" => "the preselected life of keys, in days,",
        "member_scopes" => "the scopes that members may grant, a rule",
        "default_requests_per_minute" => "the default limit",
        "largest_requests_per_minute" => "the largest limit",
        "zone" => "the time zone",
        "name" => "the name",
        "email" => "the e-mail address",
        "role" => "the role",
        "answerers" => "who answers",
        "sha256_prefix" => "SHA-256 begins with",
        "old_sha256_prefix" => "the old SHA-256 begins with",
        other => other,
    }
}
