//! The configuration: one field a setting, checked as a whole.

mod mail;
mod providers;
mod public_url;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use lettre::message::Mailbox;
use secrecy::SecretString;

use crate::crypto::Root;
use crate::db::Location;
use crate::settings::{ConfigError, Source};
use crate::time::parse_span;

pub use self::mail::MailServer;
pub use self::providers::{GitHubSettings, OidcSettings};
pub use self::public_url::{PublicUrl, is_loopback};

/// The configuration of a process.
pub struct Config {
    /// `KEYDESK_LISTEN`.
    pub listen: SocketAddr,
    /// `KEYDESK_PUBLIC_URL`, when set.
    pub public_url: Option<PublicUrl>,
    /// `KEYDESK_DATA_DIR`.
    pub data_dir: PathBuf,
    /// `KEYDESK_DATABASE_URL`, or the file in the data directory.
    pub database: Location,
    /// `KEYDESK_VALKEY_URL`.
    pub valkey: Option<redis::Client>,
    /// `KEYDESK_SECRET`.
    pub secret: Option<Root>,
    /// `KEYDESK_SECRET_PREVIOUS`.
    pub secret_previous: Option<Root>,
    /// `KEYDESK_SMTP_URL`.
    pub mail_server: Option<MailServer>,
    /// `KEYDESK_MAIL_FROM`.
    pub mail_from: Mailbox,
    /// `KEYDESK_UPSTREAM_URL`, without a slash at its end.
    pub upstream_url: Option<String>,
    /// `KEYDESK_UPSTREAM_KEY`.
    pub upstream_key: Option<SecretString>,
    /// `KEYDESK_KEY_PREFIX`.
    pub key_prefix: String,
    /// `KEYDESK_NOTICES`: spans before the end, in seconds.
    pub notices: Vec<i64>,
    /// `KEYDESK_TICK`.
    pub tick: Duration,
    /// `KEYDESK_MAX_STALENESS`: how long keys are answered from memory without word from the database.
    pub max_staleness: Duration,
    /// `KEYDESK_KEEP_ALIVE`: how long a connection is kept on which no request comes.
    pub keep_alive: Duration,
    /// `KEYDESK_DATABASE_CONNECTIONS`: how many connections to PostgreSQL pages and changes share.
    pub database_connections: u32,
    /// `KEYDESK_START_TIMEOUT`: how long a start waits for the database.
    pub start_timeout: Duration,
    /// `KEYDESK_DRAIN`: how long new connections are served after the process was asked to stop.
    pub drain: Duration,
    /// `KEYDESK_STOP_TIMEOUT`: how long open requests may take after that.
    pub stop_timeout: Duration,
    /// `KEYDESK_DEFAULT_RPM`.
    pub default_rpm: u32,
    /// `KEYDESK_TRUSTED_PROXIES`.
    pub trusted_proxies: Vec<IpNet>,
    /// `KEYDESK_GITHUB_*`.
    pub github: Option<GitHubSettings>,
    /// `KEYDESK_OIDC_*`.
    pub oidc: Option<OidcSettings>,
}

impl Config {
    /// The host under which Keydesk is reached, as far as it is known before it listens.
    pub fn host(&self) -> String {
        self.public_url.as_ref().map_or("localhost", PublicUrl::host).to_owned()
    }

    /// Reads all settings. Errors name the variable.
    pub fn load(source: &Source<'_>) -> Result<Config, ConfigError> {
        let data_dir = PathBuf::from(
            source.parse("KEYDESK_DATA_DIR", "keydesk-data", "", |text| Some(text.to_owned()))?,
        );
        let listen = source.parse("KEYDESK_LISTEN", "127.0.0.1:8080", "Write address:port.", |text| {
            text.parse::<SocketAddr>().ok()
        })?;
        let mail_server = mail::mail_server(source)?;
        Ok(Config {
            listen,
            mail_from: mail::mail_from(source, mail_server.is_some())?,
            mail_server,
            public_url: public_url::public_url(source, listen)?,
            database: database(source, &data_dir)?,
            data_dir,
            valkey: valkey(source)?,
            secret: source.root("KEYDESK_SECRET")?,
            secret_previous: source.root("KEYDESK_SECRET_PREVIOUS")?,
            upstream_url: upstream_url(source)?,
            upstream_key: source.get_secret("KEYDESK_UPSTREAM_KEY")?.map(SecretString::from),
            key_prefix: source.parse("KEYDESK_KEY_PREFIX", "kd", "Use 2 to 8 of a-z0-9.", key_prefix)?,
            notices: source.parse(
                "KEYDESK_NOTICES",
                "30d,14d,7d,3d,1d",
                "Write spans such as 30d,7d,12h.",
                spans,
            )?,
            tick: source.parse("KEYDESK_TICK", "30s", SPAN_RULE, span)?,
            max_staleness: source.parse(
                "KEYDESK_MAX_STALENESS",
                "5s",
                "Write a span from 1s to 5m.",
                |text| span(text).filter(|span| *span <= LONGEST_STALENESS),
            )?,
            keep_alive: source.parse("KEYDESK_KEEP_ALIVE", "75s", "Write a span from 1s to 1h.", |text| {
                span(text).filter(|span| *span <= LONGEST_KEEP_ALIVE)
            })?,
            database_connections: source.parse(
                "KEYDESK_DATABASE_CONNECTIONS",
                "16",
                "Use a number from 2 to 200.",
                |text| text.parse().ok().filter(|connections| (2..=200).contains(connections)),
            )?,
            start_timeout: source.parse("KEYDESK_START_TIMEOUT", "60s", SPAN_OR_ZERO_RULE, span_or_zero)?,
            drain: source.parse("KEYDESK_DRAIN", "5s", SPAN_OR_ZERO_RULE, span_or_zero)?,
            stop_timeout: source.parse("KEYDESK_STOP_TIMEOUT", "30s", SPAN_OR_ZERO_RULE, span_or_zero)?,
            default_rpm: source.parse(
                "KEYDESK_DEFAULT_RPM",
                "600",
                "Use a number from 1 to 1000000.",
                |text| text.parse().ok().filter(|rpm| (1..=1_000_000).contains(rpm)),
            )?,
            trusted_proxies: source.parse(
                "KEYDESK_TRUSTED_PROXIES",
                "",
                "Write networks such as 10.0.0.0/8,::1.",
                networks,
            )?,
            github: providers::github(source)?,
            oidc: providers::oidc(source)?,
        })
    }

    /// The file of the generated secret.
    pub fn secret_file(&self) -> PathBuf {
        self.data_dir.join("secret")
    }
}

fn valkey(source: &Source<'_>) -> Result<Option<redis::Client>, ConfigError> {
    let Some(url) = source.get_secret("KEYDESK_VALKEY_URL")? else { return Ok(None) };
    // The cause could repeat the password.
    let client = redis::Client::open(url.as_str());
    client.map(Some).map_err(|_| {
        ConfigError::new(
            "KEYDESK_VALKEY_URL",
            "is not understood. Write redis://HOST:PORT or rediss://HOST:PORT.",
        )
    })
}

/// Longer, and a revocation that could not be heard of would not be noticed in time to matter.
const LONGEST_STALENESS: Duration = Duration::from_secs(5 * 60);
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(60 * 60);

const SPAN_RULE: &str = "Write a span above zero such as 30s, 5m, 1h.";

const SPAN_OR_ZERO_RULE: &str = "Write a span such as 0s, 30s, 5m.";

fn span(text: &str) -> Option<Duration> {
    span_or_zero(text).filter(|span| !span.is_zero())
}

/// A span of at most a day.
fn span_or_zero(text: &str) -> Option<Duration> {
    let seconds = u64::try_from(parse_span(text)?).ok()?;
    (seconds <= 24 * 60 * 60).then(|| Duration::from_secs(seconds))
}

/// Parses `30d,14d,7d`.
fn spans(text: &str) -> Option<Vec<i64>> {
    text.split(',').map(|span| parse_span(span.trim()).filter(|&seconds| seconds > 0)).collect()
}

fn key_prefix(text: &str) -> Option<String> {
    let letters = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (letters && (2..=8).contains(&text.len())).then(|| text.to_owned())
}

/// Parses networks and single addresses, separated by commas.
fn networks(text: &str) -> Option<Vec<IpNet>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse_network).collect()
}

/// Parses `10.0.0.0/8` or a single address.
pub fn parse_network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // Clients' addresses are compared without their IPv6 clothes, so networks are kept so too.
    match (network.addr().to_canonical(), network.prefix_len()) {
        (address @ IpAddr::V4(_), length) if network.max_prefix_len() == 128 => {
            IpNet::new(address, length.checked_sub(96)?).ok()
        }
        _ => Some(network),
    }
}

fn database(source: &Source<'_>, data_dir: &std::path::Path) -> Result<Location, ConfigError> {
    const VARIABLE: &str = "KEYDESK_DATABASE_URL";
    let flag = (source.flag)(VARIABLE);
    let url = match flag {
        Some(_) => source.get(VARIABLE)?,
        None => source.get_secret(VARIABLE)?,
    };
    let Some(url) = url else {
        return Ok(Location::Sqlite(data_dir.join("keydesk.sqlite3")));
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(ConfigError::new(VARIABLE, "names no file. Write sqlite:PATH."));
        }
        return Ok(Location::Sqlite(path.into()));
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let tls = ["require", "verify-ca", "verify-full"]
            .iter()
            .any(|mode| url.contains(&format!("sslmode={mode}")));
        if tls && !cfg!(feature = "postgres-tls") {
            return Err(ConfigError::new(
                VARIABLE,
                "asks for TLS, which this build does not speak. Build with `cargo build --release --features postgres-tls`.",
            ));
        }
        check_postgres_url(&url).map_err(|words| ConfigError::new(VARIABLE, words))?;
        return Ok(Location::Postgres(url));
    }
    Err(ConfigError::new(VARIABLE, "has an unknown scheme. Use sqlite:PATH or postgres://…"))
}

/// Refuses what libpq would misread: its messages quote the URL, and with it the password.
fn check_postgres_url(url: &str) -> Result<(), &'static str> {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let before_query = rest.split('?').next().unwrap_or_default();
    let authority = before_query.split('/').next().unwrap_or_default();
    let is_escaped = |at: usize| {
        url.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if rest.matches('@').count() > 1 || rest.contains('#') || (rest.contains('@') && !authority.contains('@'))
    {
        return Err("can't be read. In the password, write @ as %40, / as %2F, ? as %3F and # as %23.");
    }
    if url.match_indices('%').any(|(at, _)| !is_escaped(at)) {
        return Err("can't be read: a % is not followed by two hexadecimal digits. Write % itself as %25.");
    }
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    if hosts.matches('[').count() != hosts.matches(']').count() || user.contains(['[', ']']) {
        return Err(
            "can't be read. Write brackets around an IPv6 address only, and in the password as %5B and %5D.",
        );
    }
    Ok(())
}

fn upstream_url(source: &Source<'_>) -> Result<Option<String>, ConfigError> {
    const VARIABLE: &str = "KEYDESK_UPSTREAM_URL";
    let Some(text) = source.get(VARIABLE)? else {
        return Ok(None);
    };
    let url = reqwest::Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.query().is_none());
    let url = url.ok_or_else(|| ConfigError::new(VARIABLE, "must be a base URL such as https://host/v1."))?;
    Ok(Some(url.as_str().trim_end_matches('/').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_libpq_would_misread_is_refused_without_being_quoted() {
        for url in [
            "postgres://u:hunter%zz2@127.0.0.1/x",
            "postgres://u:hunter2%@127.0.0.1/x",
            "postgres://u:hun@ter2@127.0.0.1/x",
            "postgres://u:hun/ter2@127.0.0.1/x",
            "postgres://u:hun?ter2@127.0.0.1/x",
            "postgres://u:hun#ter2@127.0.0.1/x",
            "postgres://u:hunter2@[::1/x",
            "postgres://u:[hunter2]@host/x",
        ] {
            let words = load(&[("KEYDESK_DATABASE_URL", url)]).map(drop).expect_err(url);
            assert!(words.contains("KEYDESK_DATABASE_URL") && !words.contains("ter2"), "{words}");
        }
        for url in [
            "postgres://u:hunter%402@127.0.0.1:5432/x?sslmode=disable",
            "postgresql://u@h1,h2:5433,[::1]/x?target_session_attrs=read-write",
            "postgres:///x?host=/run/postgresql",
            "postgres://host",
        ] {
            assert!(load(&[("KEYDESK_DATABASE_URL", url)]).is_ok(), "{url}");
        }
    }

    fn load(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let env =
            |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Config::load(&Source { flag: &|_| None, env: &env }).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mail_server_needs_a_sender_and_its_url_is_never_repeated() {
        let url = "smtp://ada:hunter2@mail.example.com:587";
        let refused = load(&[("KEYDESK_SMTP_URL", url)]).map(|_| ()).unwrap_err();
        assert!(refused.starts_with("KEYDESK_MAIL_FROM"), "{refused}");
        let from = ("KEYDESK_MAIL_FROM", "keydesk@example.com");
        let config = load(&[("KEYDESK_SMTP_URL", url), from]).map(|config| config.mail_server);
        assert_eq!(config.ok().flatten().map(|server| server.host), Some("mail.example.com".to_owned()));
        let wrong = load(&[("KEYDESK_SMTP_URL", "smtpx://ada:hunter2@mail.example.com"), from]);
        assert!(wrong.is_err_and(|error| !error.contains("hunter2")));
    }

    #[test]
    fn a_bad_value_is_refused_by_the_name_of_its_variable() {
        let cases = [
            ("KEYDESK_LISTEN", "here"),
            ("KEYDESK_LISTEN", ""),
            ("KEYDESK_PUBLIC_URL", "https://keys.example.com/path"),
            ("KEYDESK_PUBLIC_URL", "http://keys.example.com"),
            ("KEYDESK_PUBLIC_URL", "ftp://localhost"),
            ("KEYDESK_DATABASE_URL", "mysql://localhost/x"),
            ("KEYDESK_DATABASE_URL", "sqlite:"),
            ("KEYDESK_SECRET", "short"),
            ("KEYDESK_SECRET", ""),
            ("KEYDESK_KEY_PREFIX", "KD"),
            ("KEYDESK_KEY_PREFIX", "k"),
            ("KEYDESK_NOTICES", "soon"),
            ("KEYDESK_TICK", "0s"),
            ("KEYDESK_DEFAULT_RPM", "0"),
            ("KEYDESK_DEFAULT_RPM", "1000001"),
            ("KEYDESK_TRUSTED_PROXIES", "10.0.0.0/33"),
            ("KEYDESK_UPSTREAM_URL", "localhost:1"),
            ("KEYDESK_SMTP_URL", "mail.example.com"),
            ("KEYDESK_SMTP_URL", "https://mail.example.com"),
            ("KEYDESK_SMTP_URL", "smtp://mail.example.com?tls=perhaps"),
            ("KEYDESK_MAIL_FROM", "nobody"),
            ("KEYDESK_GITHUB_URL", "https://github.example/path"),
            ("KEYDESK_GITHUB_URL", "http://github.example"),
            ("KEYDESK_OIDC_ISSUER", "http://sso.example.com"),
            ("KEYDESK_OIDC_ISSUER", "https://sso.example.com/?x"),
            ("KEYDESK_OIDC_ISSUER", ""),
        ];
        for (variable, value) in cases {
            let error = load(&[(variable, value)]).err().unwrap_or_default();
            assert!(error.starts_with(variable), "{variable}={value:?}: {error:?}");
        }
    }

    #[test]
    fn a_provider_needs_all_its_settings() {
        let github = [("KEYDESK_GITHUB_CLIENT_ID", "id"), ("KEYDESK_GITHUB_CLIENT_SECRET", "secret")];
        let oidc = [
            ("KEYDESK_OIDC_ISSUER", "https://sso.example.com"),
            ("KEYDESK_OIDC_CLIENT_ID", "id"),
            ("KEYDESK_OIDC_CLIENT_SECRET", "secret"),
        ];
        for all in [github.as_slice(), oidc.as_slice()] {
            assert!(load(all).is_ok());
            for left_out in all {
                let rest: Vec<_> = all.iter().filter(|setting| *setting != left_out).copied().collect();
                let error = load(&rest).err().unwrap_or_default();
                assert!(error.starts_with(left_out.0), "{error}");
            }
        }
        assert!(load(&[("KEYDESK_OIDC_NAME", "Acme SSO")]).is_err());
    }

    #[test]
    fn off_loopback_a_public_url_is_required() {
        let error = load(&[("KEYDESK_LISTEN", "0.0.0.0:80")]).err().unwrap_or_default();
        assert!(error.starts_with("KEYDESK_PUBLIC_URL"), "{error}");
        assert!(
            load(&[("KEYDESK_LISTEN", "0.0.0.0:80"), ("KEYDESK_PUBLIC_URL", "https://keys.example.com/")])
                .is_ok()
        );
    }

    #[test]
    fn tls_to_postgres_names_the_feature_that_is_missing() {
        let result = load(&[("KEYDESK_DATABASE_URL", "postgres://db/keydesk?sslmode=verify-full")]);
        if cfg!(feature = "postgres-tls") {
            assert!(result.is_ok());
        } else {
            assert!(result.err().unwrap_or_default().contains("postgres-tls"));
        }
    }
}
