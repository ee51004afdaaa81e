//! The settings there are, and where their values come from.
//!
//! A value that is missing, empty, too short or unreadable is refused at start by the
//! name of its variable. Secrets come from their variable or from the file that
//! `VARIABLE_FILE` names, never from a flag.

mod credential;

use crate::crypto::Root;

/// A setting that may be given as a flag of `serve` and as a variable.
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// What stands when it is not set, as shown in the help.
    pub default: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// Whether it is a secret: never a flag, and also read from a file.
    pub secret: bool,
}

const fn open(variable: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { variable, default, meaning, secret: false }
}

const fn secret(variable: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting { variable, default, meaning, secret: true }
}

/// Every setting there is, in the order of the help.
pub const SETTINGS: [Setting; 31] = [
    open("KEYDESK_LISTEN", "127.0.0.1:8080", "Address of portal and API; port 0 picks a free one"),
    open(
        "KEYDESK_PUBLIC_URL",
        "http://localhost:PORT on loopback",
        "Origin under which people and programs reach it",
    ),
    open("KEYDESK_ALLOW_HTTP", "0", "1 allows a public URL with http off loopback"),
    open("KEYDESK_DATA_DIR", "keydesk-data", "Directory of the SQLite file and the generated secret"),
    open(
        "KEYDESK_DATABASE_URL",
        "SQLite file in the data directory",
        "sqlite:PATH or postgres://…; a password only in the variable or in KEYDESK_DATABASE_URL_FILE",
    ),
    secret(
        "KEYDESK_VALKEY_URL",
        "none",
        "Valkey or Redis in which all processes share limits: redis://… or rediss://…",
    ),
    secret("KEYDESK_SECRET", "generated file", "Root of key digests and sessions: at least 32 bytes, base64"),
    secret("KEYDESK_SECRET_PREVIOUS", "none", "The secret before this one, while it is being replaced"),
    secret(
        "KEYDESK_SMTP_URL",
        "files in the data directory",
        "Mail server: smtp://user:pass@host:587?tls=required or smtps://…",
    ),
    open("KEYDESK_MAIL_FROM", "Keydesk <keydesk@localhost>", "Sender of mails; required with a mail server"),
    open(
        "KEYDESK_UPSTREAM_URL",
        "built-in echo",
        "Base URL of an OpenAI-compatible server, such as https://host/v1",
    ),
    secret("KEYDESK_UPSTREAM_KEY", "none", "Credential for the upstream"),
    open("KEYDESK_KEY_PREFIX", "kd", "First part of new keys: 2 to 8 of a-z0-9"),
    open("KEYDESK_NOTICES", "30d,14d,7d,3d,1d", "Steps before a key's end at which it counts as expiring"),
    open("KEYDESK_TICK", "30s", "How often due work is looked for"),
    open(
        "KEYDESK_MAX_STALENESS",
        "5s",
        "How long a process may answer from memory without hearing from the database, 1s to 5m",
    ),
    open("KEYDESK_KEEP_ALIVE", "75s", "How long a connection without a request is kept, 1s to 1h"),
    open("KEYDESK_DATABASE_CONNECTIONS", "16", "Connections to PostgreSQL for pages and changes, 2 to 200"),
    open("KEYDESK_START_TIMEOUT", "60s", "How long a start waits for the database"),
    open(
        "KEYDESK_DRAIN",
        "5s",
        "How long new connections are still served after SIGTERM, while /readyz is 503",
    ),
    open("KEYDESK_STOP_TIMEOUT", "30s", "How long a stop waits for open requests and streams after that"),
    open("KEYDESK_DEFAULT_RPM", "600", "Requests a minute for new keys, 1 to 1000000"),
    open(
        "KEYDESK_TRUSTED_PROXIES",
        "none",
        "Networks whose X-Forwarded-For is believed, separated by commas",
    ),
    open("KEYDESK_GITHUB_CLIENT_ID", "none", "Sign-in by GitHub: the client id of the OAuth app"),
    secret("KEYDESK_GITHUB_CLIENT_SECRET", "none", "Its client secret"),
    open("KEYDESK_GITHUB_URL", "https://github.com", "Origin of GitHub, or of a GitHub Enterprise Server"),
    open("KEYDESK_OIDC_ISSUER", "none", "Sign-in by OpenID Connect: the provider's issuer"),
    open("KEYDESK_OIDC_CLIENT_ID", "none", "The client id there"),
    secret("KEYDESK_OIDC_CLIENT_SECRET", "none", "The client secret there"),
    open("KEYDESK_OIDC_NAME", "host of the issuer", "What people call the provider, such as Acme SSO"),
    open("KEYDESK_LOG", "info", "Tracing filter; JSON lines when standard error is no terminal"),
];

/// A setting that can't be used: the variable, what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct ConfigError {
    variable: String,
    problem: String,
}

impl ConfigError {
    /// A complaint about one variable.
    pub fn new(variable: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError { variable: variable.to_owned(), problem: problem.into() }
    }
}

/// Where values come from: flags first, then the environment.
pub struct Source<'a> {
    /// The value of a flag, by its variable.
    pub flag: &'a dyn Fn(&str) -> Option<String>,
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Source<'_> {
    /// A value, if it is set; an empty one is refused, and so is a flag with a credential in it.
    pub fn get(&self, variable: &'static str) -> Result<Option<String>, ConfigError> {
        let flag = (self.flag)(variable);
        if flag.as_deref().is_some_and(credential::is_in) {
            let file = if variable == "KEYDESK_DATABASE_URL" { " or KEYDESK_DATABASE_URL_FILE" } else { "" };
            return Err(ConfigError::new(
                variable,
                format!(
                    "contains a credential, and everyone on this machine can read flags. Set the variable {variable}{file} instead of the flag."
                ),
            ));
        }
        match flag.or_else(|| (self.env)(variable)) {
            Some(value) if value.trim().is_empty() => {
                Err(ConfigError::new(variable, "is empty. Set a value or leave it out."))
            }
            value => Ok(value.map(|value| value.trim().to_owned())),
        }
    }

    /// A secret from its variable or from the file that `VARIABLE_FILE` names.
    pub fn get_secret(&self, variable: &'static str) -> Result<Option<String>, ConfigError> {
        let from_file = format!("{variable}_FILE");
        match ((self.env)(variable), (self.env)(&from_file)) {
            (Some(_), Some(_)) => {
                Err(ConfigError::new(variable, format!("and {from_file} are both set. Set one.")))
            }
            (None, Some(path)) => {
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| ConfigError::new(&from_file, format!("can't be read: {error}.")))?;
                if text.trim().is_empty() {
                    return Err(ConfigError::new(&from_file, "names an empty file."));
                }
                Ok(Some(text.trim().to_owned()))
            }
            _ => self.get(variable),
        }
    }

    /// A value, or its default, parsed; `rule` says what to write instead of a wrong one.
    pub fn parse<T>(
        &self,
        variable: &'static str,
        default: &str,
        rule: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let value = self.get(variable)?;
        let text = value.as_deref().unwrap_or(default);
        parse(text).ok_or_else(|| ConfigError::new(variable, format!("is {text:?}. {rule}")))
    }

    /// A root secret.
    pub fn root(&self, variable: &'static str) -> Result<Option<Root>, ConfigError> {
        let rule = "is too short or not base64. It needs at least 32 random bytes: openssl rand -base64 32";
        self.get_secret(variable)?
            .map(|text| Root::parse(&text).ok_or_else(|| ConfigError::new(variable, rule)))
            .transpose()
    }
}
