//! The context in which an e-mail is rendered: recipient, time zone and links.

use std::cell::Cell;
use std::fmt::Display;

use jiff::tz::TimeZone;

use crate::config::PublicUrl;
use crate::crypto::Keyring;
use crate::path::Href;
use crate::text::one_line;
use crate::time::Time;

/// Builds links. Tokens are computed only when an e-mail is sent, so the outbox holds none.
#[derive(Clone)]
pub struct Links {
    pub public_url: PublicUrl,
    /// Computes the tokens.
    pub keyring: Keyring,
}

/// The context in which an e-mail is rendered.
#[derive(Clone)]
pub struct MailContext {
    /// The recipient's name, or empty.
    pub name: String,
    /// The name of the organisation that the e-mail is about.
    pub org: Option<String>,
    /// The recipient's time zone.
    pub zone: TimeZone,
    /// When it was queued, from which "tomorrow" counts.
    pub written_at: Time,
    pub links: Links,
    /// Whether a token was rendered, so that nothing that others quote from the e-mail may be stored.
    pub holds_token: Cell<bool>,
}

/// The maximum length of a subject: RFC 5322 section 2.1.1 recommends short lines.
const SUBJECT: usize = 150;

impl MailContext {
    /// The absolute form of a link.
    pub fn link(&self, href: impl AsRef<Href>) -> String {
        self.links.public_url.link(href.as_ref())
    }

    /// The token of a link for this purpose.
    pub fn token(&self, purpose: &str, id: impl Display) -> String {
        self.holds_token.set(true);
        self.links.keyring.link_token(purpose, &id.to_string())
    }

    /// The organisation's name, or "Keydesk".
    pub fn sender_name(&self) -> &str {
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

    /// "Europe/Berlin (22:59 UTC)", with the date if it differs in UTC.
    pub fn zones(&self, at: &Time) -> String {
        let here = at.in_zone(&self.zone);
        let there = at.in_zone(&TimeZone::UTC);
        match self.zone.iana_name() {
            None | Some("UTC" | "Etc/UTC") => "UTC".to_owned(),
            Some(name) if here.date() == there.date() => format!("{name} ({} UTC)", there.strftime("%H:%M")),
            Some(name) => format!("{name} ({} UTC)", there.strftime("%-d %b, %H:%M")),
        }
    }

    /// The number of midnights, in the recipient's zone, between `written_at` and an instant.
    pub fn days_to(&self, at: &Time) -> i64 {
        let date = |at: &Time| at.in_zone(&self.zone).date();
        let days = date(at) - date(&self.written_at);
        days.get_days().into()
    }

    /// "30 Nov".
    pub fn day(&self, at: &Time) -> String {
        at.in_zone(&self.zone).strftime("%-d %b").to_string()
    }

    /// The subject: `[Acme] …`, without line breaks.
    pub(super) fn subject(&self, text: &str) -> String {
        header_text(&format!("[{}] {}", self.sender_name(), text.trim()), SUBJECT)
    }
}

/// Text on one line that no mail program takes for an encoded word (RFC 2047), which could decode to
/// anything.
pub(super) fn header_text(text: &str, most: usize) -> String {
    one_line(&text.replace("=?", "= ?"), most)
}
