//! E-mails with checkpoints of an audit log, to an external address.

use serde::{Deserialize, Serialize};

use crate::id::{LinkId, OrgSlug};
use crate::mail::message::MailContent;
use crate::text::number;
use crate::time::Time;

/// A request to confirm an address for checkpoints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditConfirmation {
    /// Its token is computed when the e-mail is sent.
    pub link: LinkId,
    /// The organisation's name.
    pub org: String,
    /// The name of the admin who entered the address.
    pub asker: String,
    pub ends_at: Time,
}

impl MailContent for AuditConfirmation {}

/// Why a checkpoint is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The address was just confirmed.
    First,
    /// The log has grown, or a week has passed.
    Regular,
    /// Checkpoints now go to another address.
    Replaced,
    /// Checkpoints are no longer sent.
    Ended,
    /// The log is broken; sent to the admins.
    Alarm,
}

/// A checkpoint for its recipient to keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditCheckpoint {
    pub org: OrgSlug,
    pub occasion: Occasion,
    /// The number of entries.
    pub size: u64,
    /// The signed note; empty if the log is broken and so not signed.
    pub note: String,
    /// When it was signed or, if it is not, when the e-mail was queued.
    pub at: Time,
    /// The first bad entry, from 0.
    pub broken_at: Option<u64>,
    /// What is wrong with that entry.
    #[serde(default)]
    pub why: Option<String>,
}

impl MailContent for AuditCheckpoint {
    fn file(&self) -> Option<(String, String)> {
        let name = format!("checkpoint-{}-{}.txt", self.org, self.size);
        self.is_signed().then(|| (name, self.note.clone()))
    }
}

impl AuditCheckpoint {
    /// "1,284".
    pub fn entries(&self) -> String {
        number(self.size.cast_signed())
    }

    /// Whether it contains a checkpoint.
    pub fn is_signed(&self) -> bool {
        !self.note.is_empty()
    }

    /// Whether it is sent to an admin.
    pub fn is_alarm(&self) -> bool {
        self.occasion == Occasion::Alarm
    }

    /// What is wrong with the log, or empty: "its text is not what was written".
    pub fn finding(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// Whether it is the last e-mail to this address.
    pub fn is_last(&self) -> bool {
        matches!(self.occasion, Occasion::Replaced | Occasion::Ended)
    }

    /// The main message, without a full stop.
    pub fn headline(&self) -> String {
        match (self.broken_at, self.occasion) {
            (Some(index), _) => {
                format!("The audit log is broken at entry {}", number(index.cast_signed() + 1))
            }
            (None, Occasion::First) => "The first checkpoint of the audit log".to_owned(),
            (None, Occasion::Regular) => format!("The audit log has {} entries", self.entries()),
            (None, Occasion::Replaced) => "Checkpoints now go to another address".to_owned(),
            (None, Occasion::Ended) => "Checkpoints are no longer sent".to_owned(),
            (None, Occasion::Alarm) => "The audit log is broken".to_owned(),
        }
    }

    /// [`AuditCheckpoint::advice`] with one sentence per line.
    pub fn advice_lines(&self) -> String {
        self.advice().replace(". ", ".\n")
    }

    /// What the recipient can do.
    pub fn advice(&self) -> &'static str {
        match (self.broken_at, self.occasion) {
            (Some(_), _) => {
                "Someone changed the log without Keydesk, or the database is damaged. Keydesk keeps \
                 writing entries but signs nothing until an operator recovers the log. Compare the log with \
                 checkpoints that were kept elsewhere to find out what was changed."
            }
            (None, Occasion::Replaced | Occasion::Ended) => {
                "An admin changed this setting. Keep this last checkpoint. If you didn’t expect the change, ask why."
            }
            (None, _) => {
                "Keep this e-mail. No one who runs the server can change it. It can later show whether anything in \
                 the log was changed, removed or added."
            }
        }
    }
}
