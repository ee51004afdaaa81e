//! The configuration of sign-in providers, made from several options each.

use secrecy::SecretString;

use crate::config::option::{MAX_NUMBER, numbered_variable};
use crate::config::options::{MAX_PROVIDER_NAME, Options};
use crate::config::source::{ConfigError, Source};

/// An OpenID Connect provider.
#[derive(Clone)]
pub struct OidcConfig {
    /// 1 for the first provider. The options of the others contain their number.
    pub number: u8,
    /// The issuer, exactly as the provider's documents name it.
    pub issuer: String,
    pub client_id: String,
    pub client_secret: SecretString,
    /// The name that people see.
    pub name: String,
    /// Whether an address without `email_verified` is treated as verified.
    pub trust_email: bool,
}

impl OidcConfig {
    /// The variable of one of this provider's options, given the variable of the first provider.
    pub fn variable(&self, first: &str) -> String {
        numbered_variable(first, self.number)
    }
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

const ISSUER: &str = "KEYDESK_OIDC_ISSUER";
const NAME: &str = "KEYDESK_OIDC_NAME";
const OIDC_VARIABLES: [&str; 5] =
    [ISSUER, "KEYDESK_OIDC_CLIENT_ID", "KEYDESK_OIDC_CLIENT_SECRET", NAME, "KEYDESK_OIDC_TRUST_EMAIL"];

/// The OpenID Connect providers, in the order of their numbers.
///
/// Errors: one lacks an option, a number is left out, or two have the same issuer or name.
pub(super) fn oidc(options: &Options, source: &Source<'_>) -> Result<Vec<OidcConfig>, ConfigError> {
    let mut found: Vec<OidcConfig> = Vec::new();
    for number in 1..=MAX_NUMBER {
        let Some(config) = one_oidc(options, source, number)? else { continue };
        let expected = found.len() as u8 + 1;
        if number != expected {
            let problem = format!(
                "is required because {} is set: number providers without gaps.",
                config.variable(ISSUER)
            );
            return Err(ConfigError::new(&numbered_variable(ISSUER, expected), problem));
        }
        let bare = |issuer: &str| issuer.trim_end_matches('/').to_owned();
        if let Some(same) = found.iter().find(|other| bare(&other.issuer) == bare(&config.issuer)) {
            let problem = format!("is the same as {}. Configure each provider once.", same.variable(ISSUER));
            return Err(ConfigError::new(&config.variable(ISSUER), problem));
        }
        if let Some(same) = found.iter().find(|other| other.name.to_lowercase() == config.name.to_lowercase())
        {
            let problem = format!("must differ from {}, so that people can choose.", same.variable(NAME));
            return Err(ConfigError::new(&config.variable(NAME), problem));
        }
        found.push(config);
    }
    Ok(found)
}

fn one_oidc(options: &Options, source: &Source<'_>, number: u8) -> Result<Option<OidcConfig>, ConfigError> {
    let missing = |variable| {
        ConfigError::new(&numbered_variable(variable, number), "is required for sign-in with OpenID Connect.")
    };
    let place = usize::from(number - 1);
    let [issuer, client_id, name] = [&options.oidc_issuer, &options.oidc_client_id, &options.oidc_name]
        .map(|values| values.get(place).cloned().flatten());
    let client_secret = options.oidc_client_secret.get(place).cloned().flatten();
    let is_used = client_secret.is_some()
        || OIDC_VARIABLES.iter().any(|variable| source.is_set(&numbered_variable(variable, number)));
    if !is_used {
        return Ok(None);
    }
    let issuer = issuer.ok_or_else(|| missing(ISSUER))?;
    Ok(Some(OidcConfig {
        number,
        name: name.unwrap_or_else(|| host(&issuer)),
        issuer,
        client_id: client_id.ok_or_else(|| missing("KEYDESK_OIDC_CLIENT_ID"))?,
        client_secret: client_secret.ok_or_else(|| missing("KEYDESK_OIDC_CLIENT_SECRET"))?,
        trust_email: options.oidc_trust_email.get(place).copied().unwrap_or_default(),
    }))
}

fn host(issuer: &str) -> String {
    let url = reqwest::Url::parse(issuer).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str).unwrap_or_default();
    host.chars().take(MAX_PROVIDER_NAME).collect()
}
