//! E-mails about limit requests and the decisions on them.

use serde::{Deserialize, Serialize};

use crate::id::{KeyId, OrgSlug};
use crate::mail::content::keys::Why;
use crate::mail::message::MailContent;
use crate::text::number;

/// A limit request, sent to those who can decide it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitRequest {
    pub key: KeyId,
    pub key_name: String,
    pub org: OrgSlug,
    /// The requester's name.
    pub asker: String,
    /// The current requests per minute.
    pub limit: u32,
    /// The requested requests per minute.
    pub asked: u32,
    pub reason: String,
}

impl MailContent for LimitRequest {
    fn key(&self) -> Option<KeyId> {
        Some(self.key)
    }
}

impl LimitRequest {
    /// "Mara requests a higher limit".
    pub fn title(&self) -> String {
        format!("{} requests a higher limit", self.asker)
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

/// A decision on a limit request, sent to the requester and the recipients of the key's e-mails.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LimitDecision {
    pub key: KeyId,
    pub key_name: String,
    /// The name of the person who decided.
    pub decider: String,
    /// The requests per minute from now on.
    pub limit: u32,
    /// The requested requests per minute.
    pub asked: u32,
    /// Whether the limit was raised.
    pub granted: bool,
    /// The message with the decision, or empty.
    pub words: String,
    /// The requester, if that is not the recipient.
    #[serde(default)]
    pub asker: Option<Requester>,
}

/// The requester of a limit, for a recipient who is someone else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Requester {
    pub name: String,
    /// Why the recipient receives the e-mail.
    pub why: Why,
}

impl MailContent for LimitDecision {
    fn key(&self) -> Option<KeyId> {
        Some(self.key)
    }
}

impl LimitDecision {
    /// The decision in one line.
    pub fn heading(&self) -> &'static str {
        match (self.granted, &self.asker) {
            (true, None) => "Your key has a higher limit",
            (true, Some(_)) => "A key has a higher limit",
            (false, None) => "Your limit request was declined",
            (false, Some(_)) => "A limit request was declined",
        }
    }

    /// Why the recipient receives the e-mail.
    pub fn why(&self) -> &'static str {
        self.asker.as_ref().map_or("You are receiving this because you requested a higher limit.", |asker| {
            asker.why.sentence()
        })
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
