//! Where mails go out, and from whom.

use lettre::message::Mailbox;
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::{AsyncSmtpTransport, Tokio1Executor};

use crate::settings::{ConfigError, Source};

/// A mail server, ready to be connected to. It holds a password and can't be printed.
pub struct MailServer {
    /// How to connect.
    pub transport: AsyncSmtpTransportBuilder,
    /// Its name, to be told where it can't be reached.
    pub host: String,
}

pub(super) fn mail_server(source: &Source<'_>) -> Result<Option<MailServer>, ConfigError> {
    const VARIABLE: &str = "KEYDESK_SMTP_URL";
    let Some(text) = source.get_secret(VARIABLE)? else {
        return Ok(None);
    };
    // The causes may repeat the text, and with it the password.
    let wrong = || {
        ConfigError::new(
            VARIABLE,
            "can't be used. Write smtp://user:pass@host:587?tls=required or smtps://user:pass@host; \
             special characters in user and password are percent-encoded.",
        )
    };
    let host = reqwest::Url::parse(&text).ok().and_then(|url| url.host_str().map(str::to_owned));
    let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&text).map_err(|_| wrong())?;
    Ok(Some(MailServer { transport, host: host.ok_or_else(wrong)? }))
}

pub(super) fn mail_from(source: &Source<'_>, required: bool) -> Result<Mailbox, ConfigError> {
    const VARIABLE: &str = "KEYDESK_MAIL_FROM";
    if required && source.get(VARIABLE)?.is_none() {
        return Err(ConfigError::new(
            VARIABLE,
            "is required with KEYDESK_SMTP_URL. Set the sender of mails.",
        ));
    }
    let rule = "Write an address, or Keydesk <keydesk@example.com>.";
    source.parse(VARIABLE, "Keydesk <keydesk@localhost>", rule, |text| text.parse().ok())
}
