//! Mails about limits of keys: someone asks for more, someone answers.

use serde::{Deserialize, Serialize};

use crate::id::KeyId;
use crate::mail::message::Letter;
use crate::text::number;

/// Someone asks for a higher limit; to whoever can answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitRequest {
    /// The key.
    pub key: KeyId,
    /// Its name.
    pub key_name: String,
    /// The organisation's slug.
    pub org: String,
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
    /// Where it is answered.
    pub fn path(&self) -> String {
        format!("/o/{}/keys/{}/limit/decision", self.org, self.key)
    }

    /// "2,000".
    pub fn asked(&self) -> String {
        number(self.asked.into())
    }

    /// "600".
    pub fn limit(&self) -> String {
        number(self.limit.into())
    }
}

/// What was answered; to whoever asked.
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
}

impl Letter for LimitDecision {
    fn key(&self) -> Option<KeyId> {
        Some(self.key)
    }
}

impl LimitDecision {
    /// The key's page.
    pub fn path(&self) -> String {
        format!("/keys/{}", self.key)
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
