//! Mails about limits of keys: someone asks for more, someone answers.

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, OrgSlug};
use crate::mail::letters::keys::Why;
use crate::mail::message::Letter;
use crate::text::number;

/// Someone asks for a higher limit; to whoever can answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitRequest {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub key_name: String,
    pub org: OrgSlug,
    /// Who asks, by name.
    pub asker: String,
    /// Requests a minute as it is.
    pub limit: u32,
    /// Requests a minute that are asked for.
    pub asked: u32,
    /// Why.
    pub reason: String,
}

impl Letter for LimitRequest {
    fn key(&self) -> Option<KeyId> {
        Some(self.key)
    }
}

impl LimitRequest {
    /// "2,000".
    pub fn asked(&self) -> String {
        number(self.asked.into())
    }

    /// "600".
    pub fn limit(&self) -> String {
        number(self.limit.into())
    }
}

/// What was answered; to whoever asked, and to whoever answers for the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitDecision {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub key_name: String,
    /// Who answers, by name.
    pub decider: String,
    /// Requests a minute from now on.
    pub limit: u32,
    /// Requests a minute that were asked for.
    pub asked: u32,
    /// Whether the limit was raised.
    pub granted: bool,
    /// What was said with it, or nothing.
    pub words: String,
    /// Who asked, where the reader did not.
    #[serde(default)]
    pub asker: Option<Asker>,
}

/// Whoever asked for a limit, as someone else is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Asker {
    /// Their name.
    pub name: String,
    /// Why the reader is told.
    pub why: Why,
}

impl Letter for LimitDecision {
    fn key(&self) -> Option<KeyId> {
        Some(self.key)
    }
}

impl LimitDecision {
    /// What became of it, in a line.
    pub fn heading(&self) -> &'static str {
        match (self.granted, &self.asker) {
            (true, None) => "Your key has a higher limit",
            (true, Some(_)) => "A key has a higher limit",
            (false, None) => "The limit of your key stays",
            (false, Some(_)) => "The limit of a key stays",
        }
    }

    /// Why the reader gets it.
    pub fn why(&self) -> &'static str {
        self.asker
            .as_ref()
            .map_or("You get this because you asked for a higher limit.", |asker| asker.why.sentence())
    }

    /// "600".
    pub fn limit(&self) -> String {
        number(self.limit.into())
    }

    /// "2,000".
    pub fn asked(&self) -> String {
        number(self.asked.into())
    }
}
