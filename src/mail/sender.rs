//! Sending e-mails through a mail server, or writing them to files if none is configured.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::config::MailServer;
use crate::text::one_line;

/// How long a server may take to answer one command.
const COMMAND: Duration = Duration::from_secs(30);
/// How long sending one e-mail may take. A slow server gets it again later instead of blocking all others.
const WHOLE: Duration = Duration::from_secs(60);
const WORDS: usize = 300;

/// An e-mail, ready to send.
pub struct BuiltMail {
    pub message: lettre::Message,
    /// Whether it contains a token, so that nothing that a server quotes from it may be stored.
    pub holds_token: bool,
}

/// How e-mails are sent.
pub enum Sender {
    Smtp {
        transport: AsyncSmtpTransport<Tokio1Executor>,
        host: String,
    },
    /// Writes `.eml` files to a directory.
    Directory(PathBuf),
}

/// The result of an attempt, with the server's reason if it gave one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Sent,
    /// Refused for good.
    Refused(String),
    /// Retry this e-mail later.
    Retry(Delay),
    /// Retry all e-mails later: the server is unreachable.
    Unreachable(Delay),
}

/// Why an e-mail is retried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The reason, in the server's words if it gave any.
    pub reason: String,
    /// Whether the server received the e-mail but did not answer, so that it may have accepted it.
    pub unanswered: bool,
}

impl Delay {
    /// The e-mail was certainly not accepted.
    fn answered(reason: String) -> Delay {
        Delay { reason, unanswered: false }
    }

    /// The e-mail may have been accepted.
    fn unanswered(reason: String) -> Delay {
        Delay { reason, unanswered: true }
    }
}

impl Sender {
    /// Uses the server if there is one, and the directory otherwise.
    pub fn new(server: Option<MailServer>, directory: PathBuf) -> Sender {
        match server {
            None => Sender::Directory(directory),
            Some(MailServer { transport, host }) => {
                let pool = PoolConfig::new().max_size(4).idle_timeout(Duration::from_secs(20));
                Sender::Smtp { transport: transport.timeout(Some(COMMAND)).pool_config(pool).build(), host }
            }
        }
    }

    /// Whether a mail server is configured.
    pub fn has_server(&self) -> bool {
        matches!(self, Sender::Smtp { .. })
    }

    /// Tries to send an e-mail. `name` is the name of its file, if it is written to one.
    pub async fn send(&self, mail: BuiltMail, name: &str) -> Outcome {
        let BuiltMail { message, holds_token } = mail;
        match self {
            Sender::Directory(directory) => {
                let (directory, name) = (directory.clone(), name.to_owned());
                let written =
                    tokio::task::spawn_blocking(move || write(&directory, &name, &message.formatted()));
                match written.await {
                    Ok(Ok(())) => Outcome::Sent,
                    Ok(Err(error)) => {
                        Outcome::Unreachable(Delay::answered(format!("The file can't be written: {error}")))
                    }
                    Err(error) => Outcome::Unreachable(Delay::answered(error.to_string())),
                }
            }
            Sender::Smtp { transport, host } => {
                match tokio::time::timeout(WHOLE, transport.send(message)).await {
                    Ok(Ok(_)) => Outcome::Sent,
                    Ok(Err(error)) => outcome(&error, host, holds_token),
                    Err(_) => Outcome::Retry(Delay::unanswered(format!("{host} did not answer in time."))),
                }
            }
        }
    }
}

/// Interprets an error. Servers and filters quote what they refuse, so of an answer to an e-mail that contains
/// a token only the codes are kept.
fn outcome(error: &lettre::transport::smtp::Error, host: &str, holds_token: bool) -> Outcome {
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let cause = if holds_token { enhanced_code(&said).unwrap_or_default() } else { &*said };
    // lettre requires both extensions before it sends such an address (RFC 6531 section 3.1). Only this e-mail needs them.
    if error.is_client() && (said.contains("SMTPUTF8") || said.contains("8BITMIME")) {
        return Outcome::Refused(format!(
            "{host} does not accept addresses with characters outside ASCII before the @ (SMTPUTF8). Use another address."
        ));
    }
    let Some(code) = error.status() else {
        let words = if holds_token && error.is_response() {
            format!("{host} gave an unreadable answer.")
        } else {
            one_line(&format!("{host}: {error}"), WORDS)
        };
        // A connection that broke midway says nothing about the next one.
        return if error.is_timeout() || error.is_response() {
            Outcome::Retry(Delay::unanswered(words))
        } else if error.to_string().starts_with("network error") {
            Outcome::Unreachable(Delay::unanswered(words))
        } else {
            Outcome::Unreachable(Delay::answered(words))
        };
    };
    let words = one_line(format!("{host}: {code} {cause}").trim_end(), WORDS);
    match u16::from(code) {
        // Postfix does not relay to this address. Without this code, 454 is about TLS or the credentials.
        454 if enhanced_code(&said) == Some("4.7.1") => Outcome::Retry(Delay::answered(words)),
        // These codes concern the connection or the credentials, not the e-mail.
        421 | 432 | 454 | 530 | 534 | 535 | 538 => Outcome::Unreachable(Delay::answered(words)),
        _ if error.is_permanent() => Outcome::Refused(words),
        _ => Outcome::Retry(Delay::answered(words)),
    }
}

/// The enhanced status code at the start of an answer, such as `5.7.1` (RFC 3463 section 2).
fn enhanced_code(said: &str) -> Option<&str> {
    let code = said.split_ascii_whitespace().next()?;
    let mut parts = code.split('.');
    let digits = |part: Option<&str>, most: usize| {
        part.is_some_and(|part| {
            (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    let is_code = digits(parts.next(), 1) && digits(parts.next(), 3) && digits(parts.next(), 3);
    (is_code && parts.next().is_none()).then_some(code)
}

/// Writes the file under another name first, so that no reader finds half an e-mail.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".{name}.draft"));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, directory.join(format!("{name}.eml")))
}
