//! How a mail leaves: by a mail server, or as a file where none is set.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use crate::config::MailServer;
use crate::text::one_line;

/// How long a server may think about one command.
const COMMAND: Duration = Duration::from_secs(30);
/// How long a whole mail may take. A slow server gets it again later rather than hold up all others.
const WHOLE: Duration = Duration::from_secs(60);
const WORDS: usize = 300;

/// A mail, ready to leave.
pub struct Written {
    /// The mail.
    pub message: lettre::Message,
    /// Whether it holds a token, so that nothing that a server quotes of it may be kept.
    pub holds_token: bool,
}

/// How mails leave.
pub enum Sender {
    /// By a mail server.
    Smtp {
        /// Connections to it.
        transport: AsyncSmtpTransport<Tokio1Executor>,
        /// Its name.
        host: String,
    },
    /// As `.eml` files in a directory.
    Directory(PathBuf),
}

/// What became of an attempt. The words are the server's where it had some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was taken.
    Sent,
    /// It was refused for good.
    Refused(String),
    /// This mail did not leave now.
    Later(Delay),
    /// No mail leaves now.
    Away(Delay),
}

/// Why a mail is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The reason, in the server's words where it had some.
    pub words: String,
    /// Whether the server was given it and did not answer: it may have taken it.
    pub unanswered: bool,
}

impl Delay {
    /// The mail certainly was not taken.
    fn answered(words: String) -> Delay {
        Delay { words, unanswered: false }
    }

    /// The mail may have been taken.
    fn unanswered(words: String) -> Delay {
        Delay { words, unanswered: true }
    }
}

impl Sender {
    /// By the server, or into the directory.
    pub fn new(server: Option<MailServer>, directory: PathBuf) -> Sender {
        match server {
            None => Sender::Directory(directory),
            Some(MailServer { transport, host }) => {
                let pool = PoolConfig::new().max_size(4).idle_timeout(Duration::from_secs(20));
                Sender::Smtp { transport: transport.timeout(Some(COMMAND)).pool_config(pool).build(), host }
            }
        }
    }

    /// Whether there is a mail server.
    pub fn has_server(&self) -> bool {
        matches!(self, Sender::Smtp { .. })
    }

    /// Tries to send a mail. `name` is the name of its file, where it becomes one.
    pub async fn send(&self, mail: Written, name: &str) -> Outcome {
        let Written { message, holds_token } = mail;
        match self {
            Sender::Directory(directory) => {
                let (directory, name) = (directory.clone(), name.to_owned());
                let written =
                    tokio::task::spawn_blocking(move || write(&directory, &name, &message.formatted()));
                match written.await {
                    Ok(Ok(())) => Outcome::Sent,
                    Ok(Err(error)) => {
                        Outcome::Away(Delay::answered(format!("The file can't be written: {error}")))
                    }
                    Err(error) => Outcome::Away(Delay::answered(error.to_string())),
                }
            }
            Sender::Smtp { transport, host } => {
                match tokio::time::timeout(WHOLE, transport.send(message)).await {
                    Ok(Ok(_)) => Outcome::Sent,
                    Ok(Err(error)) => outcome(&error, host, holds_token),
                    Err(_) => Outcome::Later(Delay::unanswered(format!("{host} did not answer in time."))),
                }
            }
        }
    }
}

/// What an error means. Servers and filters quote what they refuse, so of an answer to a mail that holds a
/// token only the codes are kept.
fn outcome(error: &lettre::transport::smtp::Error, host: &str, holds_token: bool) -> Outcome {
    let said = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let cause = if holds_token { enhanced_code(&said).unwrap_or_default() } else { &*said };
    let Some(code) = error.status() else {
        let words = if holds_token && error.is_response() {
            format!("{host} gave an answer that can't be read.")
        } else {
            one_line(&format!("{host}: {error}"), WORDS)
        };
        // A connection that broke in the middle says nothing about the next one.
        return if error.is_timeout() || error.is_response() {
            Outcome::Later(Delay::unanswered(words))
        } else if error.to_string().starts_with("network error") {
            Outcome::Away(Delay::unanswered(words))
        } else {
            Outcome::Away(Delay::answered(words))
        };
    };
    let words = one_line(format!("{host}: {code} {cause}").trim_end(), WORDS);
    match u16::from(code) {
        // About the connection or the credentials, not about the mail.
        421 | 432 | 454 | 530 | 534 | 535 | 538 => Outcome::Away(Delay::answered(words)),
        _ if error.is_permanent() => Outcome::Refused(words),
        _ => Outcome::Later(Delay::answered(words)),
    }
}

/// The enhanced status code, such as `5.7.1`, with which an answer begins (RFC 3463 section 2).
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

/// Written whole under another name first, so that no reader ever finds half a mail.
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let draft = directory.join(format!(".{name}.draft"));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, directory.join(format!("{name}.eml")))
}
