//! The configuration of sign-in providers, made from several options each.

use secrecy::SecretString;

use crate::config::options::{MAX_PROVIDER_NAME, Options};
use crate::config::source::{ConfigError, Source};

/// An OpenID Connect provider.
#[derive(Clone)]
pub struct OidcConfig {
    /// The issuer, exactly as the provider's documents name it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// The name that people see.
    pub name: String,
}

/// GitHub or a GitHub Enterprise Server.
#[derive(Clone)]
pub struct GitHubConfig {
    /// The origin, such as `https://github.com`.
    pub url: String,
    pub client_id: String,
    pub client_secret: SecretString,
}

pub(super) fn github(options: &Options, source: &Source<'_>) -> Result<Option<GitHubConfig>, ConfigError> {
    let missing = |variable| Err(ConfigError::new(variable, "is required for sign-in with GitHub."));
    match (options.github_client_id.clone(), options.github_client_secret.clone()) {
        (Some(client_id), Some(client_secret)) => {
            Ok(Some(GitHubConfig { url: options.github_url.clone(), client_id, client_secret }))
        }
        (None, None) if !source.is_set("KEYDESK_GITHUB_URL") => Ok(None),
        (None, _) => missing("KEYDESK_GITHUB_CLIENT_ID"),
        (_, None) => missing("KEYDESK_GITHUB_CLIENT_SECRET"),
    }
}

pub(super) fn oidc(options: &Options) -> Result<Option<OidcConfig>, ConfigError> {
    let missing = |variable| ConfigError::new(variable, "is required for sign-in with OpenID Connect.");
    let (id, secret, name) = (&options.oidc_client_id, &options.oidc_client_secret, &options.oidc_name);
    let Some(issuer) = options.oidc_issuer.clone() else {
        let is_unused = id.is_none() && secret.is_none() && name.is_none();
        return if is_unused { Ok(None) } else { Err(missing("KEYDESK_OIDC_ISSUER")) };
    };
    Ok(Some(OidcConfig {
        name: name.clone().unwrap_or_else(|| host(&issuer)),
        issuer,
        client_id: id.clone().ok_or_else(|| missing("KEYDESK_OIDC_CLIENT_ID"))?,
        client_secret: secret.clone().ok_or_else(|| missing("KEYDESK_OIDC_CLIENT_SECRET"))?,
    }))
}

fn host(issuer: &str) -> String {
    let url = reqwest::Url::parse(issuer).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    host.chars().take(MAX_PROVIDER_NAME).collect()
}
