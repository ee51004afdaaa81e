//! All configuration options.
//!
//! An entry of `options!` is the only definition of an option. From it come its variable, its flag of
//! `keydesk serve`, its default, its check, the help and `docs/configuration.md`.
//!
//! To add an option: add an entry here, use its field of [`Options`], and run
//! `KEYDESK_UPDATE_DOCS=1 cargo test --lib configuration_page`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use lettre::message::Mailbox;
use secrecy::SecretString;

use crate::config::format::*;
use crate::config::mail_server::MailServer;
use crate::config::option::{Definition, option, optional};
use crate::config::public_url::PublicUrl;
use crate::config::size::ByteSize;
use crate::config::source::{ConfigError, Source};
use crate::crypto::Root;

/// Takes groups of `/// help` and `field: type = definition;`. Generates `Options` with these fields.
macro_rules! options {
    ($($group:literal { $( $(#[doc = $help:literal])+ $field:ident: $type:ty = $option:expr; )+ })+) => {
        /// The value of every option, each checked by itself.
        pub struct Options {
            $($( $(#[doc = $help])+ pub $field: $type, )+)+
        }

        impl Options {
            /// Reads every option.
            pub fn read(source: &Source<'_>) -> Result<Options, ConfigError> {
                Ok(Options { $($( $field: $option.read(source)?, )+)+ })
            }

            /// The description of every option, in the order of the help.
            pub fn definitions() -> Vec<Definition> {
                vec![ $($( $option.definition($group, concat!($($help),+)), )+)+ ]
            }
        }
    };
}

options! {
    "Listening" {
        /// Address and port of the portal, the API and the gateway. Port 0 picks a free port.
        listen: SocketAddr = option("KEYDESK_LISTEN", "127.0.0.1:8080", address());

        /// Origin at which browsers and clients reach Keydesk. Links and cookies depend on it alone.
        public_url: Option<PublicUrl> =
            optional("KEYDESK_PUBLIC_URL", "`http://localhost:PORT` on loopback, otherwise required", public_url());

        /// `1` accepts a public URL with http outside loopback. Passwords and keys can then be read on the way.
        allow_http: bool = option("KEYDESK_ALLOW_HTTP", "0", switch());

        /// Your reverse proxies, whose `X-Forwarded-For` Keydesk believes. See `docs/operations.md`.
        trusted_proxies: Vec<IpNet> = option("KEYDESK_TRUSTED_PROXIES", "", networks());

        /// Origins whose pages may call the API with a key. See `docs/operations.md`.
        cors_origins: Vec<String> = option("KEYDESK_CORS_ORIGINS", "", origins());

        /// How long an idle connection stays open. Choose more than the reverse proxy does.
        keep_alive: Duration = option("KEYDESK_KEEP_ALIVE", "75s", duration("1s", "1h"));
    }

    "Database" {
        /// Directory of the SQLite file and the generated secret. Processes may share it.
        data_dir: PathBuf = option("KEYDESK_DATA_DIR", "keydesk-data", path());

        /// SQLite file or PostgreSQL database. The flag must not contain a password.
        database_url: Option<String> =
            optional("KEYDESK_DATABASE_URL", "`keydesk.sqlite3` in the data directory", database_url()).or_file();

        /// Connections to PostgreSQL for pages and changes.
        database_connections: u32 = option("KEYDESK_DATABASE_CONNECTIONS", "16", number(2..=200));
    }

    "Secrets" {
        /// Root secret, from which Keydesk derives key digests, sessions and audit signatures. A secret that does
        /// not belong to the database is refused.
        secret: Option<Root> =
            optional("KEYDESK_SECRET", "the file `secret` in the data directory, generated once", root_secret())
                .secret();

        /// The other root secret while you replace `KEYDESK_SECRET`. Keys of both work. See `docs/operations.md`.
        secret_previous: Option<Root> = optional("KEYDESK_SECRET_PREVIOUS", "none", root_secret()).secret();
    }

    "E-mail" {
        /// Mail server that delivers Keydesk's e-mail.
        mail_server: Option<MailServer> =
            optional("KEYDESK_SMTP_URL", "`.eml` files in `mail/` of the data directory", smtp_url()).secret();

        /// Sender of e-mail. Required with a mail server.
        mail_from: Mailbox = option("KEYDESK_MAIL_FROM", "Keydesk <keydesk@localhost>", mailbox());
    }

    "Upstream" {
        /// OpenAI-compatible server to which the gateway forwards inference requests.
        upstream_url: Option<String> = optional("KEYDESK_UPSTREAM_URL", "built-in echo", base_url());

        /// Credential that Keydesk sends to the upstream.
        upstream_key: Option<SecretString> = optional("KEYDESK_UPSTREAM_KEY", "none", secret_text()).secret();

        /// File with the model catalogue: upstreams, models and prices. Used instead of `KEYDESK_UPSTREAM_URL`. Read at
        /// start and on SIGHUP. See `docs/operations.md`.
        models_file: Option<PathBuf> =
            optional("KEYDESK_MODELS_FILE", "no catalogue: every model name is accepted", path());

        /// How long the upstream may stay silent, before its response and within it.
        upstream_timeout: Duration = option("KEYDESK_UPSTREAM_TIMEOUT", "600s", duration("1s", "24h"));

        /// Largest body of a request to the gateway, after decompression. Keydesk holds at most twice as much, or
        /// 64 MiB, of such bodies in memory at once.
        max_body: ByteSize = option("KEYDESK_MAX_BODY", "32MiB", size("64KiB", "1GiB"));
    }

    "Keys and limits" {
        /// First part of new keys.
        key_prefix: String = option("KEYDESK_KEY_PREFIX", "kd", key_prefix());

        /// Times before expiry at which Keydesk sends reminders. A key counts as expiring from the first of them
        /// that is shorter than half of its lifetime.
        notices: Vec<i64> = option("KEYDESK_NOTICES", "30d,14d,7d,3d,1d", durations());

        /// Limit of new keys, in requests per minute.
        default_rpm: u32 = option("KEYDESK_DEFAULT_RPM", "600", number(1..=1_000_000));

        /// Valkey or Redis through which all processes share rate limits.
        valkey: Option<redis::Client> =
            optional("KEYDESK_VALKEY_URL", "each process limits requests by itself", valkey_url()).secret();
    }

    "Sign-in" {
        /// Client ID of a GitHub OAuth app with the callback URL `PUBLIC_URL/sign-in/github/callback`.
        github_client_id: Option<String> = optional("KEYDESK_GITHUB_CLIENT_ID", "no sign-in with GitHub", text());

        /// Client secret of the GitHub OAuth app.
        github_client_secret: Option<SecretString> =
            optional("KEYDESK_GITHUB_CLIENT_SECRET", "none", secret_text()).secret();

        /// Origin of GitHub or of a GitHub Enterprise Server.
        github_url: String = option("KEYDESK_GITHUB_URL", "https://github.com", provider_origin());

        /// Issuer of an OpenID Connect provider with the redirect URI `PUBLIC_URL/sign-in/oidc/callback`. Options with
        /// a number describe further providers; the redirect URI of the second is
        /// `PUBLIC_URL/sign-in/oidc/2/callback`.
        oidc_issuer: Vec<Option<String>> =
            optional("KEYDESK_OIDC_ISSUER", "no sign-in with OpenID Connect", issuer()).numbered();

        /// Client ID at the OpenID Connect provider.
        oidc_client_id: Vec<Option<String>> = optional("KEYDESK_OIDC_CLIENT_ID", "none", text()).numbered();

        /// Client secret at the OpenID Connect provider.
        oidc_client_secret: Vec<Option<SecretString>> =
            optional("KEYDESK_OIDC_CLIENT_SECRET", "none", secret_text()).secret().numbered();

        /// Name of the OpenID Connect provider on the sign-in page, such as Acme SSO.
        oidc_name: Vec<Option<String>> =
            optional("KEYDESK_OIDC_NAME", "host of the issuer", name(MAX_PROVIDER_NAME)).numbered();

        /// `1` treats addresses that the provider sends without the claim `email_verified` as verified. Use it only if
        /// the provider's administrators assign all addresses. `email_verified: false` is never treated as verified.
        oidc_trust_email: Vec<bool> = option("KEYDESK_OIDC_TRUST_EMAIL", "0", switch()).numbered();
    }

    "Running" {
        /// How often Keydesk looks for due work, such as expiry notices.
        tick: Duration = option("KEYDESK_TICK", "30s", duration("1s", "24h"));

        /// How long a process may answer from memory without hearing from the database. After that it answers 503.
        max_staleness: Duration = option("KEYDESK_MAX_STALENESS", "5s", duration("1s", "5m"));

        /// How long a starting server waits for the database.
        start_timeout: Duration = option("KEYDESK_START_TIMEOUT", "60s", duration("0s", "24h"));

        /// After SIGTERM, how long `/readyz` answers 503 while new connections are still served.
        drain: Duration = option("KEYDESK_DRAIN", "5s", duration("0s", "24h"));

        /// After `KEYDESK_DRAIN`, how long a stopping server waits for open requests and streams.
        stop_timeout: Duration = option("KEYDESK_STOP_TIMEOUT", "30s", duration("0s", "24h"));

        /// Log filter. Log lines are JSON unless standard error is a terminal.
        log: String = option("KEYDESK_LOG", "info,actix_server=warn", log_filter());
    }
}

/// Characters of a provider's name.
pub(super) const MAX_PROVIDER_NAME: usize = 40;
