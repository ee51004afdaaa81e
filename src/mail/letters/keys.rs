//! Mails about one key.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::mail::message::Letter;
use crate::mail::sheet::Sheet;
use crate::text::{count, number};
use crate::time::Time;

/// A key, as mails show one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyFacts {
    /// Its identifier, for links.
    pub id: KeyId,
    pub name: String,
    /// How its secret looks: `kd_…x9Ka`.
    pub hint: String,
    pub owner: String,
    pub scopes: Vec<String>,
}

/// Why someone gets a mail about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// They own it.
    Owner,
    /// They answer for the service account that owns it.
    Answerer,
    /// They are its backup.
    Backup,
    /// They manage the organisation.
    Admin,
    /// They owned it, or were its backup, until the change that the e-mail is about.
    Former,
}

/// What a key was used for in the 7 days before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Calls with it.
    pub calls: i64,
    /// From how many addresses.
    pub addresses: i64,
    /// Some of these.
    pub callers: Vec<String>,
    /// With which scopes.
    pub scopes: Vec<String>,
    /// When it was last used, also before.
    pub last_used_at: Option<Time>,
}

/// A key was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyCreated {
    pub key: KeyFacts,
    pub why: Why,
    /// Who made it, in words.
    pub by: String,
    /// When.
    pub at: Time,
    /// When it ends; never if `None`.
    pub ends_at: Option<Time>,
}

/// A key got a new secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRotated {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// Who did it, in words.
    pub by: String,
    /// When.
    pub at: Time,
    /// Until when the old secret works.
    pub old_ends_at: Time,
    /// When the key ends now; never if `None`.
    pub ends_at: Option<Time>,
}

/// A key can do something that it could not do before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyWidened {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// Who changed it, in words.
    pub by: String,
    /// When.
    pub at: Time,
    /// What is different.
    pub changes: Vec<Widening>,
}

/// Something that a key can do from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Widening {
    /// It got these scopes.
    Scopes(Vec<String>),
    /// It expires later; never if `None`.
    Expiry(Option<Time>),
    /// It may be used from more addresses: from these networks, or from anywhere if there are none.
    Addresses(Vec<String>),
    /// It may make this many requests a minute.
    Limit(u32),
    /// It was disabled and works again.
    Enabled,
    /// It belongs to this member now.
    Owner(String),
    /// This member is its backup now.
    Backup(String),
    /// It may replace its own secret.
    SelfRotation,
    /// The secret that was replaced works longer, until then.
    OldSecret(Time),
}

impl KeyWidened {
    /// What happened, without a full stop. `open` and `close` stand around the key's name.
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

    /// What a reader who did not expect it can do.
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

    /// Whether the reader may still see the key.
    pub fn is_readers(&self) -> bool {
        self.why != Why::Former
    }
}

impl Widening {
    /// The sentence about it in an e-mail.
    pub fn sentence(&self, sheet: &Sheet) -> String {
        match self {
            Widening::Scopes(names) => format!("New scopes: {}.", names.join(", ")),
            Widening::Expiry(Some(at)) => format!("It now expires later: {}.", sheet.exact(at)),
            Widening::Expiry(None) => "It never expires now.".to_owned(),
            Widening::Addresses(networks) if networks.is_empty() => {
                "It can be used from any address.".to_owned()
            }
            Widening::Addresses(networks) => {
                format!("It can be used from more addresses: {}.", networks.join(", "))
            }
            Widening::Limit(limit) => format!("New limit: {} requests a minute.", number(i64::from(*limit))),
            Widening::Enabled => "It is enabled again.".to_owned(),
            Widening::Owner(name) => format!("New owner: {name}."),
            Widening::Backup(name) => format!("New backup: {name}."),
            Widening::SelfRotation => "It can now replace its own secret.".to_owned(),
            Widening::OldSecret(until) => {
                format!("The old secret works longer: until {}.", sheet.exact(until))
            }
        }
    }
}

/// A key was revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRevoked {
    /// The key.
    pub key: KeyFacts,
    /// Why they get it.
    pub why: Why,
    /// Who did it, in words.
    pub by: String,
    /// When.
    pub at: Time,
    /// Why, in their words.
    pub reason: Option<String>,
}

impl KeyFacts {
    /// Its scopes on one line.
    pub fn scope_line(&self) -> String {
        self.scopes.join(", ")
    }

    /// Its owner, as this reader knows them.
    pub fn owner_line(&self, why: &Why) -> String {
        if *why == Why::Owner { format!("{} (you)", self.owner) } else { self.owner.clone() }
    }
}

impl Why {
    /// The same for someone who would be told so of a key that they are the backup for.
    pub fn of_backup(self) -> Why {
        match self {
            Why::Owner | Why::Answerer | Why::Backup => Why::Backup,
            Why::Admin => Why::Admin,
            Why::Former => Why::Former,
        }
    }

    /// "You get this because you own the key."
    pub fn sentence(self) -> &'static str {
        match self {
            Why::Owner => "You get this because you own the key.",
            Why::Answerer => "You get this because you answer for the service account that owns the key.",
            Why::Backup => "You get this because you are the backup for the key.",
            Why::Admin => "You get this because you manage the organisation's keys.",
            Why::Former => "You get this because you were the key's owner or backup until now.",
        }
    }
}

impl Impact {
    /// Whether the key is in use.
    pub fn is_busy(&self) -> bool {
        self.calls > 0
    }

    /// "1,204 calls in the last 7 days from 3 addresses".
    pub fn sentence(&self) -> String {
        let calls = count(self.calls, "call", "calls");
        format!("{calls} in the last 7 days from {}", count(self.addresses, "address", "addresses"))
    }

    /// Some addresses, and how many more.
    pub fn caller_line(&self) -> String {
        callers(&self.callers, self.addresses)
    }

    /// The scopes of the calls on one line.
    pub fn scope_line(&self) -> String {
        self.scopes.join(", ")
    }
}

/// Some addresses, and how many more.
pub(super) fn callers(named: &[String], all: i64) -> String {
    let more = all - i64::try_from(named.len()).unwrap_or(i64::MAX);
    let named = named.join(", ");
    if more > 0 { format!("{named} and {} more", number(more)) } else { named }
}

/// Letters of which each is about one key.
macro_rules! about_one_key {
    ($($letter:ident),*) => {
        $(impl Letter for $letter {
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
    fn callers_beyond_the_named_are_counted() {
        assert_eq!(callers(&["10.2.0.4".into(), "10.2.0.9".into()], 2), "10.2.0.4, 10.2.0.9");
        assert_eq!(callers(&["10.2.0.4".into()], 1_301), "10.2.0.4 and 1,300 more");
    }
}
