//! Sign-in through providers: OAuth 2.0 for GitHub, OpenID Connect for all others.
//!
//! Authorization code flow with PKCE (RFC 7636), state and nonce, the response's `iss` (RFC 9207), and the
//! rules of RFC 9700. Issuer and subject identify a person at a provider, never an e-mail address.

pub mod flow;
mod github;
mod http;
mod oidc;

use std::time::{Duration, Instant};

use oauth2::{ErrorResponse, PkceCodeVerifier, RequestTokenError};

pub use self::github::GitHub;
pub use self::http::Http;
pub use self::oidc::Oidc;
use crate::config::{GitHubConfig, OidcConfig};
use crate::people::oauth::http::HttpError;
use crate::time::Time;

/// The time limit for all requests of one step, such as exchanging a code.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kind of a provider, as stored in sign-in methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any OpenID Connect provider.
    Oidc,
    /// GitHub, or a GitHub Enterprise Server.
    GitHub,
}

impl Kind {
    /// The name in paths and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Oidc => "oidc",
            Kind::GitHub => "github",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Kind> {
        [Kind::Oidc, Kind::GitHub].into_iter().find(|kind| kind.name() == name)
    }
}

/// The configured providers.
#[derive(Default)]
pub struct Providers {
    oidc: Option<Oidc>,
    github: Option<GitHub>,
}

#[derive(Clone, Copy)]
pub enum Provider<'a> {
    Oidc(&'a Oidc),
    GitHub(&'a GitHub),
}

impl Providers {
    /// The providers in these settings. `redirect` returns each one's redirect URI.
    pub fn new(
        oidc: Option<OidcConfig>,
        github: Option<GitHubConfig>,
        redirect: impl Fn(Kind) -> String,
    ) -> Result<Providers, reqwest::Error> {
        let http = Http::new()?;
        Ok(Providers {
            oidc: oidc.map(|settings| Oidc::new(settings, redirect(Kind::Oidc), http.clone())),
            github: github.map(|settings| GitHub::new(settings, redirect(Kind::GitHub), http)),
        })
    }

    /// The provider of that kind, if it is configured.
    pub fn get(&self, kind: Kind) -> Option<Provider<'_>> {
        match kind {
            Kind::Oidc => self.oidc.as_ref().map(Provider::Oidc),
            Kind::GitHub => self.github.as_ref().map(Provider::GitHub),
        }
    }

    /// All providers, the organisation's own first.
    pub fn all(&self) -> impl Iterator<Item = Provider<'_>> {
        [Kind::Oidc, Kind::GitHub].into_iter().filter_map(|kind| self.get(kind))
    }
}

/// The parameters that begin a flow, each random and valid once.
pub struct Challenge {
    /// Returned with the response.
    pub state: String,
    /// Returned in the ID token.
    pub nonce: String,
    /// Proves that the same program exchanges the code (RFC 7636).
    pub verifier: String,
    /// Whether the person must prove their identity to the provider again.
    pub again: bool,
}

/// The provider's response, with what was sent to it.
pub struct ProviderResponse {
    /// The authorization code.
    pub code: String,
    /// The nonce that was sent.
    pub nonce: String,
    /// The PKCE verifier whose digest was sent.
    pub verifier: String,
}

/// A person's identity at a provider.
#[derive(Clone, Debug)]
pub struct Identity {
    pub kind: Kind,
    pub issuer: String,
    /// The provider's permanent id of the person.
    pub subject: String,
    /// An address that the provider has verified.
    pub email: Option<String>,
    /// The person's name, for a new account.
    pub name: Option<String>,
    /// The person's name at the provider, for display.
    pub label: String,
    /// When they proved their identity to the provider, if it says so.
    pub proved_at: Option<Time>,
}

/// Why a sign-in through a provider failed. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider is unreachable or too slow.
    #[error("the provider is unreachable: {0}")]
    Unreachable(String),
    /// The provider's response is invalid.
    #[error("the provider's response is invalid: {0}")]
    InvalidResponse(String),
    /// The person or the provider declined.
    #[error("the provider refused: {0}")]
    Denied(String),
}

impl ProviderError {
    fn invalid(reason: impl Into<String>) -> ProviderError {
        ProviderError::InvalidResponse(reason.into())
    }
}

impl Provider<'_> {
    pub fn kind(self) -> Kind {
        match self {
            Provider::Oidc(_) => Kind::Oidc,
            Provider::GitHub(_) => Kind::GitHub,
        }
    }

    /// The display name.
    pub fn name(&self) -> &str {
        match self {
            Provider::Oidc(oidc) => oidc.name(),
            Provider::GitHub(_) => "GitHub",
        }
    }

    /// The issuer of its identities.
    pub fn issuer(&self) -> &str {
        match self {
            Provider::Oidc(oidc) => oidc.issuer(),
            Provider::GitHub(github) => github.issuer(),
        }
    }

    /// The URL to which the browser is sent.
    pub async fn authorize_url(self, challenge: &Challenge) -> Result<String, ProviderError> {
        match self {
            Provider::Oidc(oidc) => with_timeout(oidc.authorize_url(challenge, Instant::now())).await,
            Provider::GitHub(github) => github.authorize_url(challenge),
        }
    }

    /// Checks the issuer of the response before anything else in it is trusted (RFC 9207).
    pub async fn check_issuer(self, issuer: Option<&str>) -> Result<(), ProviderError> {
        match self {
            Provider::Oidc(oidc) => with_timeout(oidc.check_issuer(issuer, Instant::now())).await,
            Provider::GitHub(github) => github.check_issuer(issuer),
        }
    }

    /// Exchanges the provider's response for an identity.
    pub async fn identify(self, answer: ProviderResponse, now: Time) -> Result<Identity, ProviderError> {
        match self {
            Provider::Oidc(oidc) => with_timeout(oidc.identify(answer, now, Instant::now())).await,
            Provider::GitHub(github) => with_timeout(github.identify(answer)).await,
        }
    }
}

async fn with_timeout<T>(talk: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let late = |_| ProviderError::Unreachable("it took too long".to_owned());
    tokio::time::timeout(PATIENCE, talk).await.map_err(late)?
}

/// Describes why the token endpoint refused the code.
fn token_error<R: ErrorResponse + 'static>(error: RequestTokenError<HttpError, R>) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(response) => {
            let code = serde_json::to_value(&response).ok().and_then(|value| code_of(&value));
            ProviderError::invalid(format!("the token endpoint returned {}", code.unwrap_or_default()))
        }
        // GitHub reports errors with status 200.
        RequestTokenError::Parse(_, body) => {
            let code = serde_json::from_slice(&body).ok().and_then(|value| code_of(&value));
            ProviderError::invalid(code.map_or_else(
                || "the token endpoint's response can't be parsed".to_owned(),
                |code| format!("the token endpoint returned {code}"),
            ))
        }
        RequestTokenError::Other(reason) => ProviderError::invalid(format!("the token endpoint: {reason}")),
    }
}

/// The `error` of a response, cleaned for the log.
fn code_of(value: &serde_json::Value) -> Option<String> {
    value["error"].as_str().map(printable)
}

/// A provider's text, cleaned for the log.
pub fn printable(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(80).collect()
}

/// PKCE's verifier from its text.
fn verifier(text: &str) -> PkceCodeVerifier {
    PkceCodeVerifier::new(text.to_owned())
}
