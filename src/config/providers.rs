//! What the configuration says of sign-in providers.

use secrecy::SecretString;

use crate::config::is_loopback;
use crate::settings::{ConfigError, Source};
use crate::text::forbidden_character;

/// What the configuration says of the OpenID Connect provider.
#[derive(Clone)]
pub struct OidcSettings {
    /// The issuer, exactly as its documents name it.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretString,
    /// How people call it.
    pub name: String,
}

/// What the configuration says of GitHub.
#[derive(Clone)]
pub struct GitHubSettings {
    /// The origin, such as `https://github.com`.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// Our secret there.
    pub client_secret: SecretString,
}

pub(super) fn github(source: &Source<'_>) -> Result<Option<GitHubSettings>, ConfigError> {
    let (id, secret, url) =
        ("KEYDESK_GITHUB_CLIENT_ID", "KEYDESK_GITHUB_CLIENT_SECRET", "KEYDESK_GITHUB_URL");
    let client = (source.get(id)?, source.get_secret(secret)?);
    let address = source.get(url)?;
    let rule = "must be an origin such as https://github.example.com; http counts on loopback alone.";
    let origin = match &address {
        Some(text) => {
            provider_url(text).filter(|url| url.path() == "/").map(|url| url.origin().ascii_serialization())
        }
        None => Some("https://github.com".to_owned()),
    };
    let origin = origin.ok_or_else(|| ConfigError::new(url, rule))?;
    match client {
        (Some(client_id), Some(client_secret)) => {
            Ok(Some(GitHubSettings { url: origin, client_id, client_secret: client_secret.into() }))
        }
        (None, None) if address.is_none() => Ok(None),
        (None, _) => Err(ConfigError::new(id, "is needed to sign in by GitHub.")),
        (_, None) => Err(ConfigError::new(secret, "is needed to sign in by GitHub.")),
    }
}

pub(super) fn oidc(source: &Source<'_>) -> Result<Option<OidcSettings>, ConfigError> {
    const ISSUER: &str = "KEYDESK_OIDC_ISSUER";
    let (id, secret, name) = ("KEYDESK_OIDC_CLIENT_ID", "KEYDESK_OIDC_CLIENT_SECRET", "KEYDESK_OIDC_NAME");
    let (client_id, client_secret) = (source.get(id)?, source.get_secret(secret)?);
    let named = source.get(name)?;
    let Some(issuer) = source.get(ISSUER)? else {
        let alone = client_id.is_some() || client_secret.is_some() || named.is_some();
        let missing = || Err(ConfigError::new(ISSUER, "is needed to sign in by OpenID Connect."));
        return if alone { missing() } else { Ok(None) };
    };
    let rule =
        "must be the provider's issuer, such as https://sso.example.com; http counts on loopback alone.";
    let url = provider_url(&issuer).ok_or_else(|| ConfigError::new(ISSUER, rule))?;
    let needed = |variable| ConfigError::new(variable, "is needed to sign in by OpenID Connect.");
    let name_rule = "must have at most 40 characters, none of them control characters.";
    let fits = |text: &String| text.chars().count() <= 40 && !text.chars().any(forbidden_character);
    let name = named.unwrap_or_else(|| url.host_str().unwrap_or_default().chars().take(40).collect());
    Ok(Some(OidcSettings {
        name: Some(name).filter(fits).ok_or_else(|| ConfigError::new("KEYDESK_OIDC_NAME", name_rule))?,
        issuer,
        client_id: client_id.ok_or_else(|| needed(id))?,
        client_secret: client_secret.ok_or_else(|| needed(secret))?.into(),
    }))
}

/// The URL of a provider: bare, and without TLS only on this machine.
fn provider_url(text: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(text).ok()?;
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let guarded = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    (bare && guarded && url.password().is_none() && url.has_host()).then_some(url)
}
