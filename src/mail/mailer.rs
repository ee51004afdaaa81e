//! Building an e-mail with its headers from a row of the outbox.

use std::cell::Cell;
use std::time::{Duration, UNIX_EPOCH};

use jiff::tz::TimeZone;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, MultiPart};

use crate::email::deliverable;
use crate::mail::claim::ClaimedMail;
use crate::mail::context::{Links, MailContext, header_text};
use crate::mail::sender::{BuiltMail, Sender};
use crate::path;

const NAME: usize = 100;
/// The purpose of the token in unsubscribe links.
pub const UNSUBSCRIBE: &str = "unsubscribe";

/// Builds and sends e-mails.
pub struct Mailer {
    pub sender: Sender,
    pub from: Mailbox,
    pub links: Links,
}

impl Mailer {
    /// Builds an e-mail. The same row has the same `Message-ID` and `Date` every time.
    ///
    /// Errors: why it can never be sent.
    pub fn build(&self, mail: &ClaimedMail) -> Result<BuiltMail, String> {
        let zone = mail.zone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC);
        let context = MailContext {
            name: mail.name.clone(),
            org: mail.org.clone(),
            zone,
            written_at: mail.created_at,
            links: self.links.clone(),
            holds_token: Cell::new(false),
        };
        let rendered = mail.message.render(&context).map_err(|error| error.to_string())?;
        let address = deliverable(&mail.address)
            .parse()
            .map_err(|_| format!("{} is not a valid e-mail address.", mail.address))?;
        // Some parsers reject a phrase that begins with a dot.
        let name = header_text(&mail.name, NAME).trim_start_matches(['.', ' ']).to_owned();
        let name = Some(name).filter(|name| !name.is_empty());
        let host = self.links.public_url.host_name();
        let queued = Duration::from_secs(u64::try_from(mail.created_at.seconds()).unwrap_or(0));
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(name, address))
            .subject(rendered.subject)
            .date(UNIX_EPOCH + queued)
            .message_id(Some(format!("<{}@{host}>", mail.id)));
        if let Some(key) = mail.message.key() {
            // E-mails about one key form a thread.
            builder = builder.references(format!("<{key}@{host}>"));
        }
        let mut body = MultiPart::alternative_plain_html(rendered.text, rendered.html);
        if let Some((name, text)) = mail.message.file() {
            // Signed text must arrive byte for byte, including line endings.
            let bytes = Body::new_with_encoding(text.into_bytes(), ContentTransferEncoding::Base64);
            let bytes = bytes.map_err(|_| "The file can't be encoded.".to_owned())?;
            let file = Attachment::new(name).body(bytes, ContentType::TEXT_PLAIN);
            body = MultiPart::mixed().multipart(body).singlepart(file);
        }
        let mut message = builder.multipart(body).map_err(|error| error.to_string())?;
        let mut add = |name: &'static str, value: String| {
            if let Ok(name) = HeaderName::new_from_ascii(name.to_owned()) {
                message.headers_mut().insert_raw(HeaderValue::new(name, value));
            }
        };
        add("Auto-Submitted", "auto-generated".to_owned());
        add("List-Id", format!("Keydesk <keydesk.{host}>"));
        add("X-Keydesk-Event", mail.message.event().to_owned());
        if let Some(key) = mail.message.key() {
            add("X-Keydesk-Key", key.to_string());
        }
        if let Some(person) = mail.person.filter(|_| mail.message.is_early()) {
            let link = context.link(path::unsubscribe(&context.token(UNSUBSCRIBE, person)));
            add("List-Unsubscribe", format!("<{link}>"));
            // RFC 8058 section 3.1: one-click only over https.
            if self.links.public_url.is_https() {
                add("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned());
            }
        }
        Ok(BuiltMail { message, holds_token: context.holds_token.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PublicUrl;
    use crate::crypto::{Keyring, Root};
    use crate::id::MailId;
    use crate::mail::Test;
    use crate::time::Time;

    fn built(org: &str, name: &str, address: &str) -> Result<String, String> {
        let root = Root::parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").expect("long enough");
        let mailer = Mailer {
            sender: Sender::Directory("mail".into()),
            from: "Keydesk <keydesk@localhost>".parse().expect("an address"),
            links: Links { public_url: PublicUrl::loopback(8080), keyring: Keyring::new(root, None) },
        };
        let now = Time::from_seconds(1_800_000_000);
        let mail = ClaimedMail {
            id: MailId::new(now),
            message: Test { asked_by: name.to_owned() }.into(),
            name: name.to_owned(),
            address: address.to_owned(),
            person: None,
            zone: Some("Europe/Berlin".to_owned()),
            org: Some(org.to_owned()),
            created_at: now,
            attempts: 0,
        };
        let (first, again) =
            (mailer.build(&mail)?.message.formatted(), mailer.build(&mail)?.message.formatted());
        let id = format!("Message-ID: <{}@localhost>\r\n", mail.id);
        for bytes in [&first, &again] {
            assert!(String::from_utf8_lossy(bytes).contains(&id));
        }
        String::from_utf8(first).map_err(|error| error.to_string())
    }

    #[test]
    fn email_identifies_itself_to_people_and_programs() {
        let mail = built("Acme", "Ada", "ada@example.com").expect("can be written");
        for line in [
            "From: Keydesk <keydesk@localhost>",
            "To: Ada <ada@example.com>",
            "Subject: [Acme] Test e-mail",
            "Date: Fri, 15 Jan 2027 08:00:00 +0000",
            "Auto-Submitted: auto-generated",
            "List-Id: Keydesk <keydesk.localhost>",
            "X-Keydesk-Event: test",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Type: text/html; charset=utf-8",
        ] {
            assert!(mail.contains(&format!("{line}\r\n")), "{line} in {mail}");
        }
        assert!(mail.find("text/plain") < mail.find("text/html"));
    }

    #[test]
    fn name_cannot_inject_a_header() {
        for name in ["Ada\r\nBcc: eve@example.com", "Ada\nX-Keydesk-Event: forged", "A\u{2028}B\0"] {
            let mail = built(name, name, "ada@example.com").expect("can be written");
            let (head, _) = mail.split_once("\r\n\r\n").expect("has a body");
            let names = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
            let names: Vec<&str> = names.filter_map(|line| line.split(':').next()).collect();
            assert_eq!(names.iter().filter(|name| **name == "X-Keydesk-Event").count(), 1, "{head}");
            assert!(!names.contains(&"Bcc"), "{head}");
        }
        assert!(built("Acme", "Ada", "ada@example.com>\r\nBcc: eve@example.com").is_err());
    }
}
