//! GitHub: its web application flow and the two API requests that identify a person.
//!
//! There is no ID token; the numeric id identifies the person, since logins change hands. Only the
//! primary e-mail address is used, and only if GitHub has verified it.

use oauth2::basic::{BasicClient, BasicTokenType};
use oauth2::http::header::{ACCEPT, AUTHORIZATION};
use oauth2::http::{Request, StatusCode};
use oauth2::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet,
    EndpointSet, PkceCodeChallenge, RedirectUrl, Scope, TokenResponse, TokenUrl,
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::GitHubConfig;
use crate::people::oauth::{
    Challenge, Http, Identity, Kind, ProviderEmail, ProviderError, ProviderResponse, printable, token_error,
    verifier,
};

type Client = BasicClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;

/// GitHub, or a GitHub Enterprise Server.
pub struct GitHub {
    config: GitHubConfig,
    redirect: String,
    http: Http,
}

/// `GET /user`.
#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
}

/// An item of `GET /user/emails`.
#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub fn new(config: GitHubConfig, redirect: String, http: Http) -> GitHub {
        GitHub { config, redirect, http }
    }

    /// The server's origin.
    pub fn issuer(&self) -> &str {
        &self.config.url
    }

    /// The URL to which the browser is sent.
    pub fn authorize_url(&self, challenge: &Challenge) -> Result<String, ProviderError> {
        let client = self.client()?;
        let state = CsrfToken::new(challenge.state.clone());
        let request = client
            .authorize_url(|| state)
            .add_scope(Scope::new("user:email".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier(&challenge.verifier)));
        // GitHub can't be told to ask for the password again; this at least makes the person choose an account.
        let request =
            if challenge.again { request.add_extra_param("prompt", "select_account") } else { request };
        Ok(request.url().0.to_string())
    }

    /// Checks the issuer of the response, if GitHub sends one.
    pub fn check_issuer(&self, issuer: Option<&str>) -> Result<(), ProviderError> {
        let own = |issuer: &str| issuer == self.config.url || issuer == self.login("");
        match issuer {
            Some(issuer) if !own(issuer) => {
                Err(ProviderError::claim("iss", format!("iss of the response is {:?}", printable(issuer))))
            }
            _ => Ok(()),
        }
    }

    /// Exchanges the provider's response for an identity.
    pub async fn identify(&self, answer: ProviderResponse) -> Result<Identity, ProviderError> {
        let tokens = self
            .client()?
            .exchange_code(AuthorizationCode::new(answer.code))
            .set_pkce_verifier(verifier(&answer.verifier))
            .request_async(&self.http)
            .await
            .map_err(token_error)?;
        if *tokens.token_type() != BasicTokenType::Bearer {
            return Err(ProviderError::invalid("the access token's type is not bearer"));
        }
        let user: User = self.get("/user", tokens.access_token()).await?;
        let emails: Vec<Email> = self.get("/user/emails", tokens.access_token()).await?;
        let email = match emails.into_iter().find(|email| email.primary) {
            Some(Email { email, verified: true, .. }) => ProviderEmail::Verified(email),
            Some(Email { email, .. }) => ProviderEmail::Unverified(email),
            None => ProviderEmail::Absent,
        };
        Ok(Identity {
            kind: Kind::GitHub,
            issuer: self.config.url.clone(),
            subject: user.id.to_string(),
            email,
            label: printable(&user.login),
            name: user.name.or(Some(user.login)),
            proved_at: None,
        })
    }

    fn client(&self) -> Result<Client, ProviderError> {
        let wrong = |error: oauth2::url::ParseError| ProviderError::invalid(error.to_string());
        Ok(BasicClient::new(ClientId::new(self.config.client_id.clone()))
            .set_client_secret(ClientSecret::new(self.config.client_secret.expose_secret().to_owned()))
            .set_auth_type(AuthType::RequestBody)
            .set_auth_uri(AuthUrl::new(self.login("/authorize")).map_err(wrong)?)
            .set_token_uri(TokenUrl::new(self.login("/access_token")).map_err(wrong)?)
            .set_redirect_uri(RedirectUrl::new(self.redirect.clone()).map_err(wrong)?))
    }

    fn login(&self, path: &str) -> String {
        format!("{}/login/oauth{path}", self.config.url)
    }

    /// The base URL of the API: github.com has it on another host, GitHub Enterprise Server under a path.
    fn api(&self) -> String {
        match self.config.url.as_str() {
            "https://github.com" => "https://api.github.com".to_owned(),
            url => format!("{url}/api/v3"),
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, token: &AccessToken) -> Result<T, ProviderError> {
        let request = Request::get(format!("{}{path}", self.api()))
            .header(ACCEPT, "application/vnd.github+json")
            .header(AUTHORIZATION, format!("Bearer {}", token.secret()))
            .header("x-github-api-version", "2022-11-28")
            .body(Vec::new())
            .map_err(|_| ProviderError::invalid("the access token has invalid characters"))?;
        let answer = self.http.send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(ProviderError::invalid(format!(
                "GET {path} returned status {}",
                answer.status().as_u16()
            )));
        }
        serde_json::from_slice(answer.body())
            .map_err(|_| ProviderError::invalid(format!("the response to GET {path} can't be parsed")))
    }
}
