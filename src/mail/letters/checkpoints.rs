//! Mails with checkpoints of an audit log, to an address outside that its organisation chose.

use serde::{Deserialize, Serialize};

use crate::id::{LinkId, OrgSlug};
use crate::mail::message::Letter;
use crate::text::number;
use crate::time::Time;

/// Asks whoever reads an address whether checkpoints may be mailed there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditConfirmation {
    /// The link; its token is made when the mail is sent.
    pub link: LinkId,
    /// The organisation's name.
    pub org: String,
    /// Who asks, by name.
    pub asker: String,
    /// Until when the link counts.
    pub ends_at: Time,
}

impl Letter for AuditConfirmation {}

/// Why a checkpoint is mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The address was just confirmed.
    First,
    /// The log has grown, or a week has passed.
    Regular,
    /// Checkpoints go to another address from now on.
    Replaced,
    /// No checkpoints are mailed any more.
    Ended,
    /// The log is broken; this goes to the admins.
    Alarm,
}

/// A checkpoint, to be kept by its reader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuditCheckpoint {
    pub org: OrgSlug,
    /// Why it comes.
    pub occasion: Occasion,
    /// How many entries the log has.
    pub size: u64,
    /// The signed note; empty where the log is broken, which is not signed.
    pub note: String,
    /// When it was signed, or the e-mail was written.
    pub at: Time,
    /// The first entry, from 0, that is not what was written.
    pub broken_at: Option<u64>,
    /// What is wrong with it.
    #[serde(default)]
    pub why: Option<String>,
}

impl Letter for AuditCheckpoint {
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

    /// Whether there is a checkpoint in it.
    pub fn is_signed(&self) -> bool {
        !self.note.is_empty()
    }

    /// Whether it goes to an admin.
    pub fn is_alarm(&self) -> bool {
        self.occasion == Occasion::Alarm
    }

    /// "its text is not what was written", where something is wrong.
    pub fn finding(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }

    /// Whether it is the last one to this address.
    pub fn is_last(&self) -> bool {
        matches!(self.occasion, Occasion::Replaced | Occasion::Ended)
    }

    /// What it says above all, without a full stop.
    pub fn headline(&self) -> String {
        match (self.broken_at, self.occasion) {
            (Some(index), _) => {
                format!("Entry {} of the audit log is not what was written", number(index.cast_signed() + 1))
            }
            (None, Occasion::First) => "The first checkpoint of the audit log".to_owned(),
            (None, Occasion::Regular) => format!("The audit log has {} entries", self.entries()),
            (None, Occasion::Replaced) => "Checkpoints go to another address now".to_owned(),
            (None, Occasion::Ended) => "Checkpoints are not mailed any more".to_owned(),
            (None, Occasion::Alarm) => "The audit log is broken".to_owned(),
        }
    }

    /// [`AuditCheckpoint::advice`], a sentence a line.
    pub fn advice_lines(&self) -> String {
        self.advice().replace(". ", ".\n")
    }

    /// What to do with it.
    pub fn advice(&self) -> &'static str {
        match (self.broken_at, self.occasion) {
            (Some(_), _) => {
                "Someone changed the log behind Keydesk's back, or the database is damaged. Keydesk goes on \
                 writing entries, but signs nothing until an operator has recovered the log. Find out what \
                 was changed with the checkpoints that were kept elsewhere."
            }
            (None, Occasion::Replaced | Occasion::Ended) => {
                "An admin changed this. Keep this last checkpoint, and if it surprises you, ask why."
            }
            (None, _) => {
                "Keep this mail. Nobody who runs the server can change it, so it shows later whether \
                 anything in the log was altered, left out or added."
            }
        }
    }
}
