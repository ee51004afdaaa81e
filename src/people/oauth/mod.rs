//! Sign-in by others: OAuth 2.0 for GitHub, OpenID Connect for anyone who speaks it.
//!
//! Authorization code with PKCE (RFC 7636), state and nonce; the answer's `iss` (RFC 9207); the
//! rules of RFC 9700. Who someone is at a provider is issuer and subject, never an address.

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

/// How long the whole talk with a provider may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The kinds of providers, as sign-in methods name them.
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

/// The providers that the configuration names.
#[derive(Default)]
pub struct Providers {
    oidc: Option<Oidc>,
    github: Option<GitHub>,
}

/// A provider.
#[derive(Clone, Copy)]
pub enum Provider<'a> {
    /// Speaks OpenID Connect.
    Oidc(&'a Oidc),
    /// Speaks OAuth 2.0 and has calls of its own.
    GitHub(&'a GitHub),
}

impl Providers {
    /// The providers of these settings. `redirect` says where each sends people back to.
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

    /// The provider of that kind.
    pub fn get(&self, kind: Kind) -> Option<Provider<'_>> {
        match kind {
            Kind::Oidc => self.oidc.as_ref().map(Provider::Oidc),
            Kind::GitHub => self.github.as_ref().map(Provider::GitHub),
        }
    }

    /// All of them, the organisation's own first.
    pub fn all(&self) -> impl Iterator<Item = Provider<'_>> {
        [Kind::Oidc, Kind::GitHub].into_iter().filter_map(|kind| self.get(kind))
    }
}

/// What begins a way to a provider. Each value is random and counts once.
pub struct Challenge {
    /// Comes back with the answer.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Proves to the provider that the same program asks for the token (RFC 7636).
    pub verifier: String,
    /// Whether the person has to prove there again who they are.
    pub again: bool,
}

/// What came back with the person.
pub struct Answer {
    /// Is exchanged for tokens.
    pub code: String,
    /// The nonce that was sent.
    pub nonce: String,
    /// The verifier whose digest was sent.
    pub verifier: String,
}

/// Who someone is at a provider.
#[derive(Clone, Debug)]
pub struct Identity {
    /// At which kind of provider.
    pub kind: Kind,
    /// At which one.
    pub issuer: String,
    /// Who, by the provider's own name that never changes.
    pub subject: String,
    /// An address that the provider says it has verified.
    pub email: Option<String>,
    /// Their name, for a new account.
    pub name: Option<String>,
    /// How the provider calls them, for people.
    pub label: String,
    /// When they proved to the provider who they are, if it says so.
    pub proved_at: Option<Time>,
}

/// Why someone who came back from a provider is not signed in. The texts are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The provider can't be reached, or not in time.
    #[error("the provider can't be reached: {0}")]
    Unreachable(String),
    /// The provider's answer is not what it has to be.
    #[error("the provider's answer does not hold: {0}")]
    Answer(String),
    /// The person, or the provider for them, said no.
    #[error("the provider refused: {0}")]
    Denied(String),
}

impl Refusal {
    fn answer(reason: impl Into<String>) -> Refusal {
        Refusal::Answer(reason.into())
    }
}

impl Provider<'_> {
    /// Which kind it is.
    pub fn kind(self) -> Kind {
        match self {
            Provider::Oidc(_) => Kind::Oidc,
            Provider::GitHub(_) => Kind::GitHub,
        }
    }

    /// How people call it.
    pub fn name(&self) -> &str {
        match self {
            Provider::Oidc(oidc) => oidc.name(),
            Provider::GitHub(_) => "GitHub",
        }
    }

    /// Which one it is: the issuer of its identities.
    pub fn issuer(&self) -> &str {
        match self {
            Provider::Oidc(oidc) => oidc.issuer(),
            Provider::GitHub(github) => github.issuer(),
        }
    }

    /// Where to send someone.
    pub async fn authorize_url(self, challenge: &Challenge) -> Result<String, Refusal> {
        match self {
            Provider::Oidc(oidc) => patiently(oidc.authorize_url(challenge, Instant::now())).await,
            Provider::GitHub(github) => github.authorize_url(challenge),
        }
    }

    /// Checks who answers, before anything else of the answer is believed (RFC 9207).
    pub async fn check_issuer(self, issuer: Option<&str>) -> Result<(), Refusal> {
        match self {
            Provider::Oidc(oidc) => patiently(oidc.check_issuer(issuer, Instant::now())).await,
            Provider::GitHub(github) => github.check_issuer(issuer),
        }
    }

    /// Who someone is who came back with this answer.
    pub async fn identify(self, answer: Answer, now: Time) -> Result<Identity, Refusal> {
        match self {
            Provider::Oidc(oidc) => patiently(oidc.identify(answer, now, Instant::now())).await,
            Provider::GitHub(github) => patiently(github.identify(answer)).await,
        }
    }
}

async fn patiently<T>(talk: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    let late = |_| Refusal::Unreachable("it took too long".to_owned());
    tokio::time::timeout(PATIENCE, talk).await.map_err(late)?
}

/// What the token endpoint had against the code.
fn token_refusal<R: ErrorResponse + 'static>(error: RequestTokenError<HttpError, R>) -> Refusal {
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(response) => {
            let code = serde_json::to_value(&response).ok().and_then(|value| code_of(&value));
            Refusal::answer(format!("the token endpoint says {}", code.unwrap_or_default()))
        }
        // GitHub says so with status 200.
        RequestTokenError::Parse(_, body) => {
            let code = serde_json::from_slice(&body).ok().and_then(|value| code_of(&value));
            Refusal::answer(code.map_or_else(
                || "the token endpoint's answer can't be read".to_owned(),
                |code| format!("the token endpoint says {code}"),
            ))
        }
        RequestTokenError::Other(reason) => Refusal::answer(format!("the token endpoint: {reason}")),
    }
}

/// The `error` of an answer, cleaned for the log.
fn code_of(value: &serde_json::Value) -> Option<String> {
    value["error"].as_str().map(printable)
}

/// What a provider wrote, cleaned for the log.
pub fn printable(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_graphic() || *letter == ' ').take(80).collect()
}

/// PKCE's verifier and challenge of a text.
fn verifier(text: &str) -> PkceCodeVerifier {
    PkceCodeVerifier::new(text.to_owned())
}
