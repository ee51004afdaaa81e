//! A real mail server that follows instructions, and the e-mails that it received.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use keydesk::config::{MailServer as MailServerConfig, PublicUrl};
use keydesk::crypto::{Keyring, Root};
use keydesk::mail::context::Links;
use keydesk::mail::mailer::Mailer;
use keydesk::mail::sender::Sender;
use tempfile::TempDir;

use super::programs::python;
use super::{Desk, eventually};

/// A mail server; stopped when dropped.
pub struct MailServer {
    child: Child,
    port: u16,
    directory: TempDir,
}

/// An e-mail as received.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The server's reply.
    pub mode: String,
    pub headers: Vec<(String, String)>,
    pub raw: String,
}

impl MailServer {
    pub fn start() -> MailServer {
        MailServer::launch(None)
    }

    /// One that requires TLS and has a certificate for this host.
    pub fn with_certificate_for(host: &str) -> MailServer {
        MailServer::launch(Some(host))
    }

    /// One that takes no addresses outside ASCII.
    pub fn without_smtputf8() -> MailServer {
        MailServer::launch(Some("--without-smtputf8"))
    }

    fn launch(argument: Option<&str>) -> MailServer {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("mode"), "accept").unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keydesk/support/mail_server.py");
        let mut child = Command::new(python())
            .arg(script)
            .arg(directory.path())
            .args(argument)
            .stdout(Stdio::piped())
            // It reports every failed handshake, and some must fail.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        MailServer { child, port: line.trim().parse().unwrap(), directory }
    }

    /// The same desk, with this mail server.
    pub fn at(&self, desk: Desk) -> Desk {
        self.over(desk, "")
    }

    /// The same with TLS, trusting this server's certificate authority.
    pub fn at_by_tls(&self, desk: Desk) -> Desk {
        let authority = self.directory.path().join("authority.pem");
        self.over(desk, "?tls=required").with("SSL_CERT_FILE", authority.to_str().unwrap())
    }

    fn over(&self, desk: Desk, query: &str) -> Desk {
        desk.with("KEYDESK_SMTP_URL", &format!("smtp://localhost:{}{query}", self.port))
            .with("KEYDESK_MAIL_FROM", "Keydesk <keydesk@example.com>")
            .with("KEYDESK_TICK", "1s")
    }

    /// The configuration for this server, for tests of the domain.
    pub fn post(&self) -> Mailer {
        let url = format!("smtp://localhost:{}", self.port);
        let transport = lettre::AsyncSmtpTransport::<lettre::Tokio1Executor>::from_url(&url).unwrap();
        let server = MailServerConfig { transport, host: "localhost".to_owned() };
        let root = Root::parse("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=").unwrap();
        Mailer {
            sender: Sender::new(Some(server), self.directory.path().join("unused")),
            from: "Keydesk <keydesk@example.com>".parse().unwrap(),
            links: Links { public_url: PublicUrl::loopback(8080), keyring: Keyring::new(root, None) },
        }
    }

    /// Sets the reply to the next e-mails.
    pub fn does(&self, mode: &str) {
        std::fs::write(self.directory.path().join("mode"), mode).unwrap();
    }

    /// The most connections that were open at once.
    pub fn peak(&self) -> usize {
        std::fs::read_to_string(self.directory.path().join("peak")).unwrap().parse().unwrap()
    }

    /// The e-mails that the server received, in order.
    pub fn mails(&self) -> Vec<Mail> {
        mails_in(self.directory.path())
    }

    /// Waits for this many accepted e-mails of an event.
    pub fn wait_for(&self, event: &str, number: usize) -> Vec<Mail> {
        let mut found = Vec::new();
        eventually(&format!("{number} mails of {event}"), || {
            let mails = self.mails().into_iter();
            found = mails.filter(|mail| mail.mode == "accept" && mail.event() == event).collect();
            found.len() >= number
        });
        found
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The e-mails in a directory, by file name.
pub fn mails_in(directory: &Path) -> Vec<Mail> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    files.iter().map(|file| Mail::read(file)).collect()
}

impl Mail {
    fn read(file: &Path) -> Mail {
        let raw = std::fs::read_to_string(file).unwrap();
        let mode = std::fs::read_to_string(file.with_extension("mode")).unwrap_or_default();
        let (head, _) = raw.split_once("\r\n\r\n").unwrap();
        let head = head.replace("\r\n ", " ").replace("\r\n\t", " ");
        let headers = head.split("\r\n").map(|line| line.split_once(": ").unwrap_or((line, "")));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Mail { mode, headers, raw }
    }

    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        let value = values.next().map_or("", |(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands twice in {}", self.raw);
        value
    }

    pub fn event(&self) -> &str {
        self.header("X-Keydesk-Event")
    }

    pub fn id(&self) -> &str {
        self.header("Message-ID")
    }

    /// The text part, with its original lines.
    pub fn text(&self) -> String {
        let part = self.raw.split("Content-Type: text/plain").nth(1).unwrap();
        let part = part.split("Content-Type: text/html").next().unwrap();
        let (head, body) = part.split_once("\r\n\r\n").unwrap();
        let body = body.rsplit_once("\r\n--").map_or(body, |(body, _)| body);
        match head {
            _ if head.contains("quoted-printable") => quoted_printable(body),
            _ if head.contains("base64") => base64(body),
            _ => body.to_owned(),
        }
    }

    /// The first link in the text part that contains this path.
    pub fn link(&self, path: &str) -> String {
        let text = self.text();
        let found = text.split_whitespace().find(|word| word.contains(path));
        found.unwrap_or_else(|| panic!("no link to {path} in {text}")).to_owned()
    }
}

fn quoted_printable(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        match (first, others) {
            (b'=', [high, low, others @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = others;
            }
            _ => {
                bytes.push(*first);
                rest = others;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn base64(text: &str) -> String {
    use std::fmt::Write;
    let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = String::new();
    for letter in text.chars().filter_map(|letter| letters.find(letter)) {
        write!(bits, "{letter:06b}").unwrap();
    }
    let bytes = bits
        .as_bytes()
        .chunks_exact(8)
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap());
    String::from_utf8(bytes.collect()).unwrap()
}
