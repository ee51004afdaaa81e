//! An audit entry, parsed from its text.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::authority::Actor;
use crate::time::Time;

/// The action of an entry whose text can't be parsed.
pub const UNREADABLE: &str = "unreadable";

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position in the organisation's log, from 0.
    pub index: i64,
    /// The text as first written, which is hashed.
    pub text: String,
    pub body: EntryBody,
}

/// The parsed text of an entry.
#[derive(Clone, Debug, Deserialize)]
pub struct EntryBody {
    /// `evt_…`.
    pub id: String,
    pub at: Time,
    pub organization: String,
    /// `user_…`, `key_…`, `system:cli` or `system`.
    pub actor: String,
    /// The id of the thing that was changed.
    pub target: String,
    pub action: String,
    /// The members of the [`Event`], such as the values before and after.
    #[serde(default)]
    pub details: Value,
    pub address: Option<String>,
    pub request_id: Option<String>,
}

impl Entry {
    /// Parses the text of an entry. A damaged entry is still shown, as [`UNREADABLE`].
    pub fn read(index: i64, text: String) -> Entry {
        let body = serde_json::from_str(&text).unwrap_or_else(|_| EntryBody::unreadable());
        Entry { index, text, body }
    }
}

impl EntryBody {
    fn unreadable() -> EntryBody {
        EntryBody {
            id: String::new(),
            at: Time::from_seconds(0),
            organization: String::new(),
            actor: String::new(),
            target: String::new(),
            action: UNREADABLE.to_owned(),
            details: Value::Null,
            address: None,
            request_id: None,
        }
    }

    /// The actor, if it can be parsed.
    pub fn actor(&self) -> Option<Actor> {
        Actor::parse(&self.actor)
    }

    /// The event; `None` if this version doesn't know it.
    pub fn event(&self) -> Option<Event> {
        let mut event = json!({"action": self.action});
        if !self.details.is_null() {
            event["details"] = self.details.clone();
        }
        serde_json::from_value(event).ok()
    }
}
