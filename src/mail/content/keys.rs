//! E-mails about one key.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::mail::context::MailContext;
use crate::mail::message::MailContent;
use crate::text::{count, number};
use crate::time::Time;

/// A key, as shown in e-mails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFacts {
    pub id: KeyId,
    pub name: String,
    /// `kd_…x9Ka`.
    pub hint: String,
    /// The owner's name.
    pub owner: String,
    pub scopes: Vec<String>,
}

/// Why someone receives an e-mail about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// They own it.
    Owner,
    /// They are responsible for the service account that owns it.
    Answerer,
    /// They are its backup.
    Backup,
    /// They manage the organisation’s keys.
    Admin,
    /// They were its owner or backup until the change that the e-mail is about.
    Former,
}

/// The use of a key in the last 7 days.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// The number of requests.
    pub calls: i64,
    /// The number of addresses from which they came.
    pub addresses: i64,
    /// Some of these addresses.
    pub callers: Vec<String>,
    /// The scopes that they used.
    pub scopes: Vec<String>,
    /// When the key was last used, even if earlier.
    pub last_used_at: Option<Time>,
}

/// A key was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyCreated {
    pub key: KeyFacts,
    pub why: Why,
    /// The actor's name.
    pub by: String,
    pub at: Time,
    /// `None` if the key never expires.
    pub ends_at: Option<Time>,
}

/// A key was rotated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRotated {
    pub key: KeyFacts,
    pub why: Why,
    /// The actor's name.
    pub by: String,
    pub at: Time,
    /// The end of the overlap.
    pub old_ends_at: Time,
    /// The key's new expiry; `None` if it never expires.
    pub ends_at: Option<Time>,
}

/// A key can do more than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyWidened {
    pub key: KeyFacts,
    pub why: Why,
    /// The actor's name.
    pub by: String,
    pub at: Time,
    pub changes: Vec<Widening>,
}

/// Something that a key can newly do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widening {
    /// It has these new scopes.
    Scopes(Vec<String>),
    /// It expires later; `None` if never.
    Expiry(Option<Time>),
    /// It may be used from more addresses: from these networks, or from anywhere if there are none.
    Addresses(Vec<String>),
    /// It may call these models or more of them, or every model that the policy allows.
    Models(Option<Vec<String>>),
    /// It may make this many requests per minute.
    Limit(u32),
    /// It was disabled and is enabled again.
    Enabled,
    /// It has this new owner.
    Owner(String),
    /// It has this new backup.
    Backup(String),
    /// It may rotate itself.
    SelfRotation,
    /// Its old secret works longer, until then.
    OldSecret(Time),
}

impl KeyWidened {
    /// The main message, without a full stop. `open` and `close` surround the key's name.
    pub fn headline(&self, open: &str, close: &str) -> String {
        let key = format!("{open}{}{close}", self.key.name);
        match self.changes.as_slice() {
            [Widening::Owner(name)] => format!("{name} now owns {key}"),
            [Widening::Backup(name)] => format!("{name} is now the backup of {key}"),
            [Widening::Enabled] => format!("{key} was enabled"),
            [Widening::OldSecret(_)] => format!("The old secret of {key} works longer"),
            _ => format!("{key} can do more than before"),
        }
    }

    /// What a recipient who did not expect the change can do.
    pub fn remedy(&self) -> &'static str {
        match self.why {
            Why::Owner | Why::Answerer | Why::Admin => {
                "If you did not expect this, disable or revoke the key on its page and tell an admin."
            }
            Why::Backup => {
                "If you did not expect this, ask its owner, or revoke the key on its page and tell an admin."
            }
            Why::Former => "If you did not expect this, tell an admin.",
        }
    }

    /// Whether the recipient may still see the key.
    pub fn is_readers(&self) -> bool {
        self.why != Why::Former
    }
}

impl Widening {
    /// The change as a sentence.
    pub fn sentence(&self, context: &MailContext) -> String {
        match self {
            Widening::Scopes(names) => format!("New scopes: {}.", names.join(", ")),
            Widening::Expiry(Some(at)) => format!("It now expires later: {}.", context.exact(at)),
            Widening::Expiry(None) => "It now never expires.".to_owned(),
            Widening::Addresses(networks) if networks.is_empty() => {
                "It can be used from any address.".to_owned()
            }
            Widening::Addresses(networks) => {
                format!("It can be used from more addresses: {}.", networks.join(", "))
            }
            Widening::Models(Some(names)) => format!("It can call more models: {}.", names.join(", ")),
            Widening::Models(None) => {
                "It can call every model that the organisation’s policy allows.".to_owned()
            }
            Widening::Limit(limit) => {
                format!("New limit: {} requests a minute.", number(i64::from(*limit)))
            }
            Widening::Enabled => "It is enabled again.".to_owned(),
            Widening::Owner(name) => format!("New owner: {name}."),
            Widening::Backup(name) => format!("New backup: {name}."),
            Widening::SelfRotation => "It can now rotate itself.".to_owned(),
            Widening::OldSecret(until) => {
                format!("The old secret works longer: until {}.", context.exact(until))
            }
        }
    }
}

/// A key was revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRevoked {
    pub key: KeyFacts,
    pub why: Why,
    /// The actor's name.
    pub by: String,
    pub at: Time,
    pub reason: Option<String>,
}

impl KeyFacts {
    /// The scopes on one line.
    pub fn scope_line(&self) -> String {
        self.scopes.join(", ")
    }

    /// The owner's name, with "(you)" if that is the recipient.
    pub fn owner_line(&self, why: &Why) -> String {
        if *why == Why::Owner { format!("{} (you)", self.owner) } else { self.owner.clone() }
    }
}

impl Why {
    /// The reason for the recipients of a backup's e-mails.
    pub fn of_backup(self) -> Why {
        match self {
            Why::Owner | Why::Answerer | Why::Backup => Why::Backup,
            Why::Admin => Why::Admin,
            Why::Former => Why::Former,
        }
    }

    /// "You are receiving this because you own the key."
    pub fn sentence(self) -> &'static str {
        match self {
            Why::Owner => "You are receiving this because you own the key.",
            Why::Answerer => {
                "You are receiving this because you are responsible for the service account that owns the key."
            }
            Why::Backup => "You are receiving this because you are the key’s backup.",
            Why::Admin => "You are receiving this because you manage the organisation’s keys.",
            Why::Former => "You are receiving this because you were the key’s owner or backup until now.",
        }
    }
}

impl Impact {
    /// Whether the key is in use.
    pub fn is_busy(&self) -> bool {
        self.calls > 0
    }

    /// "1,204 requests in the last 7 days from 3 addresses".
    pub fn sentence(&self) -> String {
        let calls = count(self.calls, "request", "requests");
        format!("{calls} in the last 7 days from {}", count(self.addresses, "address", "addresses"))
    }

    /// Some addresses, and the number of others.
    pub fn caller_line(&self) -> String {
        callers(&self.callers, self.addresses)
    }

    /// The used scopes on one line.
    pub fn scope_line(&self) -> String {
        self.scopes.join(", ")
    }
}

/// Some addresses, and the number of others.
pub(super) fn callers(named: &[String], all: i64) -> String {
    let more = all - i64::try_from(named.len()).unwrap_or(i64::MAX);
    let named = named.join(", ");
    if more > 0 { format!("{named} and {} more", number(more)) } else { named }
}

/// Implements [`MailContent`] for content about one key.
macro_rules! about_one_key {
    ($($content:ident),*) => {
        $(impl MailContent for $content {
            fn key(&self) -> Option<KeyId> {
                Some(self.key.id)
            }
        })*
    };
}

pub(super) use about_one_key;

about_one_key!(KeyCreated, KeyRotated, KeyRevoked, KeyWidened);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_beyond_the_named_ones_are_counted() {
        assert_eq!(callers(&["10.2.0.4".into(), "10.2.0.9".into()], 2), "10.2.0.4, 10.2.0.9");
        assert_eq!(callers(&["10.2.0.4".into()], 1_301), "10.2.0.4 and 1,300 more");
    }
}
