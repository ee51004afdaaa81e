//! What a mail is written on: who reads it, in which zone, and where its links lead.

use std::cell::Cell;
use std::fmt::Display;

use jiff::tz::TimeZone;

use crate::config::PublicUrl;
use crate::crypto::Keyring;
use crate::path::Href;
use crate::text::one_line;
use crate::time::Time;

/// Makes links. Tokens are made only when a mail is sent, so that no queue holds them.
#[derive(Clone)]
pub struct Links {
    /// The origin of all links.
    pub public_url: PublicUrl,
    /// What tokens are made with.
    pub keyring: Keyring,
}

/// What a mail is written on.
#[derive(Clone)]
pub struct Sheet {
    /// The reader's name, or nothing.
    pub name: String,
    /// The name of the organisation that it is about.
    pub org: Option<String>,
    /// The reader's zone.
    pub zone: TimeZone,
    /// When it was written: "tomorrow" counts from then.
    pub written_at: Time,
    /// Where links lead.
    pub links: Links,
    /// Whether a token was written, so that what others quote of the mail must not be kept.
    pub holds_token: Cell<bool>,
}

/// Subjects are cut here: RFC 5322 section 2.1.1 asks for short lines.
const SUBJECT: usize = 150;

impl Sheet {
    /// The absolute form of a link.
    pub fn link(&self, href: impl AsRef<Href>) -> String {
        self.links.public_url.link(href.as_ref())
    }

    /// The token of a link for this purpose.
    pub fn token(&self, purpose: &str, id: impl Display) -> String {
        self.holds_token.set(true);
        self.links.keyring.link_token(purpose, &id.to_string())
    }

    /// The organisation's name, or ours.
    pub fn house(&self) -> &str {
        self.org.as_deref().unwrap_or("Keydesk")
    }

    /// "Monday, 30 Nov 2026, 23:59 Europe/Berlin (22:59 UTC)".
    pub fn exact(&self, at: &Time) -> String {
        format!("{} {}", self.moment(at), self.zones(at))
    }

    /// "Monday, 30 Nov 2026, 23:59".
    pub fn moment(&self, at: &Time) -> String {
        at.in_zone(&self.zone).strftime("%A, %-d %b %Y, %H:%M").to_string()
    }

    /// "Europe/Berlin (22:59 UTC)", with the day where it is another one.
    pub fn zones(&self, at: &Time) -> String {
        let here = at.in_zone(&self.zone);
        let there = at.in_zone(&TimeZone::UTC);
        match self.zone.iana_name() {
            None | Some("UTC" | "Etc/UTC") => "UTC".to_owned(),
            Some(name) if here.date() == there.date() => format!("{name} ({} UTC)", there.strftime("%H:%M")),
            Some(name) => format!("{name} ({} UTC)", there.strftime("%-d %b, %H:%M")),
        }
    }

    /// How many midnights of the reader lie between the writing and an instant.
    pub fn days_to(&self, at: &Time) -> i64 {
        let date = |at: &Time| at.in_zone(&self.zone).date();
        let days = date(at) - date(&self.written_at);
        days.get_days().into()
    }

    /// "30 Nov".
    pub fn day(&self, at: &Time) -> String {
        at.in_zone(&self.zone).strftime("%-d %b").to_string()
    }

    /// The line of the subject: `[Acme] …`, without a character that could end it.
    pub(super) fn subject(&self, text: &str) -> String {
        header_text(&format!("[{}] {}", self.house(), text.trim()), SUBJECT)
    }
}

/// A text on one line that no reader takes for an encoded one (RFC 2047), whose decoded form could
/// hold anything.
pub(super) fn header_text(text: &str, most: usize) -> String {
    one_line(&text.replace("=?", "= ?"), most)
}
