//! Builds descriptions from pieces.

use std::borrow::Cow;

use serde_json::Value;

use crate::audit::description::Piece;
use crate::audit::event::Change;
use crate::id::{KeyId, UserId};
use crate::scope::Scopes;
use crate::time::Time;

/// A description under construction.
#[derive(Debug, Default)]
pub(super) struct Description(pub(super) Vec<Piece>);

impl Description {
    pub(super) fn and(mut self, piece: Piece) -> Description {
        self.0.push(piece);
        self
    }

    pub(super) fn text(self, words: &str) -> Description {
        self.and(Piece::Text(words.to_owned()))
    }

    pub(super) fn code(self, text: &str) -> Description {
        self.and(Piece::Code(text.to_owned()))
    }

    pub(super) fn name(self, text: &str) -> Description {
        self.and(Piece::Name(text.to_owned()))
    }

    pub(super) fn number(self, number: u32) -> Description {
        self.and(Piece::Number(number.into()))
    }

    pub(super) fn person(self, id: UserId) -> Description {
        self.and(Piece::Person(id))
    }

    pub(super) fn time(self, at: Time) -> Description {
        self.and(Piece::Time(at))
    }

    /// A person's message: `: “…”`.
    pub(super) fn quote(self, message: &str) -> Description {
        self.text(": “").name(message).text("”")
    }

    /// The name of the thing with this id.
    pub(super) fn target(self, id: &str) -> Description {
        if let Some(key) = KeyId::parse(id) {
            return self.and(Piece::Key(key));
        }
        match UserId::parse(id) {
            Some(person) => self.and(Piece::Person(person)),
            None if id.starts_with("org_") => self.text("the organisation"),
            None => self.code(id),
        }
    }

    pub(super) fn scopes(mut self, scopes: Scopes) -> Description {
        for (place, scope) in scopes.names().into_iter().enumerate() {
            self = if place > 0 { self.text(", ") } else { self }.code(scope);
        }
        self
    }

    /// A finding of the review: its scope, or its kind in words.
    pub(super) fn finding(self, kind: &str, scope: Option<&str>) -> Description {
        match scope {
            Some(scope) => self.code(scope),
            None => self.text(&kind.replace('_', " ")),
        }
    }

    /// "the limit of prod: 600 → 1,200 requests a minute", or "the limit and the description of prod".
    pub(super) fn changes(self, changes: &[Change], target: &str) -> Description {
        if let [change] = changes {
            return self.text(&setting(&change.field)).text(" of ").target(target).change(change);
        }
        let mut description = self;
        for (place, change) in changes.iter().enumerate() {
            let joint = match place {
                0 => "",
                _ if place + 1 == changes.len() => " and ",
                _ => ", ",
            };
            description = description.text(joint).text(&setting(&change.field));
        }
        description.text(" of ").target(target)
    }

    /// The values before and after one change.
    fn change(self, change: &Change) -> Description {
        let (before, after) = (&change.before, &change.after);
        match &*change.field {
            // Texts are too long for a description; the page of the entry shows them.
            "description" => self,
            // The log doesn't hold people's names.
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
            "requests_per_minute" => {
                self.text(": ").value(before).text(" → ").value(after).text(" requests a minute")
            }
            field => self.text(": ").setting(field, before).text(" → ").setting(field, after),
        }
    }

    /// The value of a setting in words.
    fn setting(self, field: &str, value: &Value) -> Description {
        match field {
            "models" | "member_models" if value.is_null() => self.text("all"),
            _ => self.value(value),
        }
    }

    /// A value in words.
    pub(super) fn value(self, value: &Value) -> Description {
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
            Value::Array(values) => values.iter().enumerate().fold(self, |description, (place, value)| {
                if place > 0 { description.text(", ") } else { description }.value(value)
            }),
            Value::Object(_) => self.code(&value.to_string()),
        }
    }
}

/// A value in words, as pieces.
pub fn value(value: &Value) -> Vec<Piece> {
    Description::default().value(value).0
}

/// The value of a setting in words, as pieces.
pub fn setting_value(field: &str, value: &Value) -> Vec<Piece> {
    Description::default().setting(field, value).0
}

/// The name of a setting in a description: "the limit", and "the tokens per minute" for a name that [`field`]
/// does not know.
fn setting(name: &str) -> Cow<'_, str> {
    match field(name) {
        words if words == name => format!("the {}", name.replace('_', " ")).into(),
        words => words.into(),
    }
}

/// The name of a setting in words.
pub fn field(name: &str) -> &str {
    match name {
        "description" => "the description",
        "scopes" => "the scopes",
        "expires_at" => "the expiry",
        "requests_per_minute" => "the limit",
        "models" => "the models",
        "allowed_ips" => "the allowed addresses",
        "owner" => "the owner",
        "backup" => "the backup",
        "disabled" => "the disabled setting",
        "self_rotate" => "the self-rotation setting",
        "longest_life_days" => "the maximum lifetime of keys, in days,",
        "keys_without_end" => "the rule on keys that never expire",
        "default_expiry_days" => "the default lifetime of keys, in days,",
        "member_scopes" => "the scopes that members may grant",
        "member_models" => "the models that members may use",
        "default_requests_per_minute" => "the default limit",
        "largest_requests_per_minute" => "the maximum limit",
        "zone" => "the time zone",
        "name" => "the name",
        "email" => "the e-mail address",
        "role" => "the role",
        "answerers" => "the responsible people",
        "sha256_prefix" => "SHA-256 begins with",
        "old_sha256_prefix" => "the old SHA-256 begins with",
        other => other,
    }
}
