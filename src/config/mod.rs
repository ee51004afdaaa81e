//! The configuration: [`Options`], one definition per option, and [`Config`], checked as a whole.

mod credential;
mod database;
mod format;
mod mail_server;
mod option;
mod options;
mod outbound;
mod providers;
mod public_url;
mod size;
mod source;

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::db::Location;

pub use self::format::parse_network;
pub use self::mail_server::MailServer;
pub use self::option::Definition;
pub use self::options::Options;
pub use self::outbound::Outbound;
pub use self::providers::{GitHubConfig, OidcConfig};
pub use self::public_url::{PublicUrl, is_loopback};
pub use self::size::ByteSize;
pub use self::source::{ConfigError, Source};

/// The configuration of a process.
pub struct Config {
    pub options: Options,
    /// The database that `KEYDESK_DATABASE_URL` names, or a SQLite file in the data directory.
    pub database: Location,
    /// Sign-in with GitHub, if configured.
    pub github: Option<GitHubConfig>,
    /// The OpenID Connect providers.
    pub oidc: Vec<OidcConfig>,
    /// How Keydesk reaches other servers.
    pub outbound: Outbound,
}

impl Config {
    /// Reads all options and checks that they fit together. Errors begin with the name of the variable.
    pub fn load(source: &Source<'_>) -> Result<Config, ConfigError> {
        let mut options = Options::read(source)?;
        check_public_url(&options)?;
        check_mail_from(&options, source)?;
        let database = match options.database_url.take() {
            Some(url) => {
                database::parse(url).map_err(|problem| ConfigError::new("KEYDESK_DATABASE_URL", problem))?
            }
            None => Location::Sqlite(options.data_dir.join("keydesk.sqlite3")),
        };
        let (github, oidc) = (providers::github(&options, source)?, providers::oidc(&options, source)?);
        let outbound = Outbound::load(source.env)?;
        Ok(Config { options, database, github, oidc, outbound })
    }

    /// The public host, or `localhost` if no public URL is configured.
    pub fn host(&self) -> String {
        self.options.public_url.as_ref().map_or("localhost", PublicUrl::host).to_owned()
    }

    /// The file of the generated secret.
    pub fn secret_file(&self) -> PathBuf {
        self.options.data_dir.join("secret")
    }
}

fn check_public_url(options: &Options) -> Result<(), ConfigError> {
    let refuse = |problem| Err(ConfigError::new("KEYDESK_PUBLIC_URL", problem));
    match &options.public_url {
        None if !options.listen.ip().is_loopback() => {
            refuse("is required when KEYDESK_LISTEN is not a loopback address.")
        }
        Some(url) if !url.is_https() && !url.is_loopback() && !options.allow_http => refuse(
            "uses http outside loopback. Use https, or set KEYDESK_ALLOW_HTTP=1 if you accept that \
             passwords and keys can be read on the way.",
        ),
        _ => Ok(()),
    }
}

fn check_mail_from(options: &Options, source: &Source<'_>) -> Result<(), ConfigError> {
    const VARIABLE: &str = "KEYDESK_MAIL_FROM";
    if options.mail_server.is_some() && !source.is_set(VARIABLE) {
        let problem = "is required with KEYDESK_SMTP_URL. Set it to the sender of e-mail.";
        return Err(ConfigError::new(VARIABLE, problem));
    }
    Ok(())
}
