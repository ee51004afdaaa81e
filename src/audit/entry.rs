//! An entry, read back from its text.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::audit::event::Event;
use crate::authority::Actor;
use crate::time::Time;

/// The action of an entry whose text was spoilt.
pub const UNREADABLE: &str = "unreadable";

/// An entry as the log holds it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the organisation's log, from 0.
    pub index: i64,
    /// The text as it was first written, which is what is hashed.
    pub text: String,
    /// What the text says.
    pub said: Said,
}

/// What the text of an entry says.
#[derive(Clone, Debug, Deserialize)]
pub struct Said {
    /// Its identifier: `evt_…`.
    pub id: String,
    /// When it happened.
    pub at: Time,
    /// The organisation.
    pub organization: String,
    /// Who did it: `user_…`, `key_…`, `system:cli` or `system`.
    pub actor: String,
    /// What it was done to, by its identifier.
    pub target: String,
    /// What was done.
    pub action: String,
    /// How, with what was before and after.
    #[serde(default)]
    pub details: Value,
    /// From which address, where there is one.
    pub address: Option<String>,
    /// With which request, where there is one.
    pub request_id: Option<String>,
}

impl Entry {
    /// Reads the text of an entry. One that someone has spoilt is shown all the same.
    pub fn read(index: i64, text: String) -> Entry {
        let said = serde_json::from_str(&text).unwrap_or_else(|_| Said::unreadable());
        Entry { index, text, said }
    }
}

impl Said {
    fn unreadable() -> Said {
        Said {
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

    /// Who did it, if that is understood.
    pub fn actor(&self) -> Option<Actor> {
        Actor::parse(&self.actor)
    }

    /// What happened; `None` for an event that this version does not know.
    pub fn event(&self) -> Option<Event> {
        let mut event = json!({"action": self.action});
        if !self.details.is_null() {
            event["details"] = self.details.clone();
        }
        serde_json::from_value(event).ok()
    }
}
