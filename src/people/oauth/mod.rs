//! Sign-in through providers: OAuth 2.0 for GitHub, OpenID Connect for all others.
//!
//! Authorization code flow with PKCE (RFC 7636), state and nonce, the response's `iss` (RFC 9207), and the
//! rules of RFC 9700. Issuer and subject identify a person at a provider, never an e-mail address.

mod error;
pub mod flow;
mod github;
mod http;
mod oidc;

use std::fmt;
use std::time::{Duration, Instant};

use oauth2::PkceCodeVerifier;

use self::error::token_error;
pub use self::error::{ProviderError, printable};
pub use self::github::GitHub;
pub use self::http::Http;
pub use self::oidc::Oidc;
use crate::config::{GitHubConfig, OidcConfig, Outbound};
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
    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Oidc => "oidc",
            Kind::GitHub => "github",
        }
    }
}

/// A configured provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderId {
    /// The OpenID Connect provider with this number, from 1.
    Oidc(u8),
    GitHub,
}

impl ProviderId {
    /// The id with this name, as returned by `Display`.
    pub fn parse(name: &str) -> Option<ProviderId> {
        match name {
            "github" => Some(ProviderId::GitHub),
            "oidc" => Some(ProviderId::Oidc(1)),
            name => {
                let id = name.strip_prefix("oidc-")?.parse().ok().map(ProviderId::Oidc)?;
                (id != ProviderId::Oidc(1) && id.to_string() == name).then_some(id)
            }
        }
    }
}

/// The name in paths, in the log and in sign-in flows.
impl fmt::Display for ProviderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProviderId::Oidc(1) => f.write_str("oidc"),
            ProviderId::Oidc(number) => write!(f, "oidc-{number}"),
            ProviderId::GitHub => f.write_str("github"),
        }
    }
}

/// The configured providers.
#[derive(Default)]
pub struct Providers {
    oidc: Vec<Oidc>,
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
        oidc: Vec<OidcConfig>,
        github: Option<GitHubConfig>,
        redirect: impl Fn(ProviderId) -> String,
        outbound: &Outbound,
    ) -> Result<Providers, reqwest::Error> {
        let http = Http::new(outbound)?;
        let oidc = oidc.into_iter().map(|settings| {
            let redirect = redirect(ProviderId::Oidc(settings.number));
            Oidc::new(settings, redirect, http.clone())
        });
        Ok(Providers {
            oidc: oidc.collect(),
            github: github.map(|settings| GitHub::new(settings, redirect(ProviderId::GitHub), http.clone())),
        })
    }

    /// The provider with this id, if it is configured.
    pub fn get(&self, id: ProviderId) -> Option<Provider<'_>> {
        self.all().find(|provider| provider.id() == id)
    }

    /// The provider whose identities have this kind and issuer.
    pub fn of_identity(&self, kind: &str, issuer: &str) -> Option<Provider<'_>> {
        self.all().find(|provider| provider.kind().name() == kind && provider.issuer() == issuer)
    }

    /// All providers, the organisation's own first.
    pub fn all(&self) -> impl Iterator<Item = Provider<'_>> {
        self.oidc.iter().map(Provider::Oidc).chain(self.github.as_ref().map(Provider::GitHub))
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

/// What a provider says about a person's e-mail address. Only a verified one counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderEmail {
    /// It sent none.
    Absent,
    /// It says that it has not verified this address.
    Unverified(String),
    /// It does not say whether it has verified this address, and is not trusted to have done so.
    Unstated(String),
    /// It has verified this address, or is trusted to have done so.
    Verified(String),
}

/// A person's identity at a provider.
#[derive(Clone, Debug)]
pub struct Identity {
    pub kind: Kind,
    pub issuer: String,
    /// The provider's permanent id of the person.
    pub subject: String,
    pub email: ProviderEmail,
    /// The person's name, for a new account.
    pub name: Option<String>,
    /// The person's name at the provider, for display.
    pub label: String,
    /// When they proved their identity to the provider, if it says so.
    pub proved_at: Option<Time>,
}

impl Provider<'_> {
    pub fn id(self) -> ProviderId {
        match self {
            Provider::Oidc(oidc) => ProviderId::Oidc(oidc.number()),
            Provider::GitHub(_) => ProviderId::GitHub,
        }
    }

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

    /// The variable of one of its options, given the variable of the first OpenID Connect provider.
    pub fn variable(&self, first: &str) -> String {
        match self {
            Provider::Oidc(oidc) => oidc.variable(first),
            Provider::GitHub(_) => first.replacen("OIDC", "GITHUB", 1),
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

/// PKCE's verifier from its text.
fn verifier(text: &str) -> PkceCodeVerifier {
    PkceCodeVerifier::new(text.to_owned())
}
