//! The mail server.

use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};

/// How to connect to a mail server. It holds a password and can't be printed.
pub struct MailServer {
    pub transport: AsyncSmtpTransportBuilder,
    /// The host name, for messages about a server that can't be reached.
    pub host: String,
}

impl MailServer {
    /// Parses an SMTP URL.
    pub(super) fn parse(text: &str) -> Option<MailServer> {
        let url = reqwest::Url::parse(text).ok()?;
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(text).ok()?;
        Some(MailServer { transport, host: url.host_str()?.to_owned() })
    }
}
