//! OpenID Connect Core 1.0 as a relying party, by discovery.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::http::Request;
use oauth2::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use oauth2::url::ParseError;
use oauth2::{
    AccessToken, AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret,
    CsrfToken, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge,
    RedirectUrl, Scope, StandardRevocableToken, StandardTokenResponse, TokenResponse, TokenUrl,
};
use openidconnect::core::CoreJsonWebKey;
use openidconnect::{IdTokenVerifier, IssuerUrl, JsonWebKeySet, Nonce};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::OidcConfig;
use crate::people::oauth::http::HttpError;
use crate::people::oauth::{
    Challenge, Http, Identity, ProviderError, ProviderResponse, printable, token_error, verifier,
};
use crate::time::{MINUTE, Time};

mod claims;
mod discovery;
mod lenient;
mod token;

use self::claims::{add_user_claims, identity};
use self::discovery::Metadata;
use self::lenient::Document;
use self::token::{SignedToken, TokenError};

/// How long the provider's documents are used before they are fetched again.
const DOCUMENTS_REFRESH: Duration = Duration::from_secs(60 * 60);
/// How long they are used if they can't be fetched again.
const DOCUMENTS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the provider's clock may be ahead, and how old its token may be, in seconds.
const AHEAD: i64 = MINUTE;
const OLDEST: i64 = 10 * MINUTE;

/// The ID token in a response of the token endpoint.
#[derive(Debug, Deserialize, Serialize)]
struct IdTokenField {
    id_token: Option<String>,
}

impl ExtraTokenFields for IdTokenField {}

type OidcClient = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// An OpenID Connect provider.
pub struct Oidc {
    config: OidcConfig,
    redirect: String,
    http: Http,
    documents: RwLock<Option<(Arc<Metadata>, Instant)>>,
}

impl Oidc {
    /// Creates the provider without contacting it.
    pub fn new(config: OidcConfig, redirect: String, http: Http) -> Oidc {
        Oidc { config, redirect, http, documents: RwLock::new(None) }
    }

    /// Its number in the configuration, from 1.
    pub fn number(&self) -> u8 {
        self.config.number
    }

    /// The display name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The variable of one of its options, given the variable of the first provider.
    pub fn variable(&self, first: &str) -> String {
        self.config.variable(first)
    }

    /// The URL to which the browser is sent.
    pub async fn authorize_url(&self, challenge: &Challenge, now: Instant) -> Result<String, ProviderError> {
        let client = self.client(&*self.documents(now).await?)?;
        let state = CsrfToken::new(challenge.state.clone());
        let request = client
            .authorize_url(|| state)
            .add_scopes(["openid", "email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .add_extra_param("nonce", challenge.nonce.clone())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier(&challenge.verifier)));
        let request = if challenge.again {
            request.add_extra_param("prompt", "login").add_extra_param("max_age", "0")
        } else {
            request
        };
        Ok(request.url().0.to_string())
    }

    /// Checks the issuer of the response.
    pub async fn check_issuer(&self, issuer: Option<&str>, now: Instant) -> Result<(), ProviderError> {
        match issuer {
            Some(issuer) if issuer != self.config.issuer => {
                let reason = format!("iss of the response is {:?}", printable(issuer));
                Err(ProviderError::claim("iss", reason))
            }
            Some(_) => Ok(()),
            None if self.documents(now).await?.sends_issuer => {
                Err(ProviderError::claim("iss", "iss of the response is missing"))
            }
            None => Ok(()),
        }
    }

    /// Exchanges the provider's response for an identity.
    pub async fn identify(
        &self,
        answer: ProviderResponse,
        now: Time,
        clock: Instant,
    ) -> Result<Identity, ProviderError> {
        let mut metadata = self.documents(clock).await?;
        let tokens = self
            .client(&metadata)?
            .exchange_code(AuthorizationCode::new(answer.code))
            .set_pkce_verifier(verifier(&answer.verifier))
            .request_async(&TokenEndpoint(&self.http))
            .await
            .map_err(token_error)?;
        if *tokens.token_type() != BasicTokenType::Bearer {
            return Err(ProviderError::claim("token_type", "the access token's type is not bearer"));
        }
        let id_token = tokens.extra_fields().id_token.as_deref();
        let id_token = id_token.ok_or_else(|| ProviderError::claim("id_token", "there is no ID token"))?;
        if let Err(TokenError::UnknownKey(_)) = SignedToken::verify(id_token, &metadata.keys) {
            // The provider may have replaced its keys since they were fetched.
            metadata = self.read_documents(clock).await?;
        }
        let token = SignedToken::verify(id_token, &metadata.keys)?;
        let authorized_party = token.payload.text("azp");
        // The openidconnect crate leaves checking azp to its users.
        if authorized_party.as_ref().is_some_and(|party| *party != self.config.client_id) {
            return Err(ProviderError::claim("azp", "azp is another client"));
        }
        // A token may be for several audiences if it says that this client requested it (OpenID Connect Core 1.0
        // section 2); Zitadel's always are.
        let mut verifier = self.verifier(now)?;
        if authorized_party.is_some() {
            verifier = verifier.set_other_audience_verifier_fn(|_| true);
        }
        let claims = token.id_token_claims(&self.config.issuer, verifier, &Nonce::new(answer.nonce))?;
        token.check_hash(&claims, tokens.access_token())?;
        let mut identity = identity(&self.config.issuer, &claims, self.config.trust_email)?;
        if let (None, Some(address)) = (claims.email(), &metadata.userinfo_endpoint) {
            let user = self.user_info(address, tokens.access_token(), &metadata).await?;
            if user.get("sub").and_then(Value::as_str) != Some(&identity.subject) {
                return Err(ProviderError::claim("sub", "userinfo: it is about another subject (sub)"));
            }
            add_user_claims(&mut identity, &user, self.config.trust_email);
        }
        Ok(identity)
    }

    /// Requests the claims of the person from the userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
    async fn user_info(
        &self,
        address: &str,
        token: &AccessToken,
        metadata: &Metadata,
    ) -> Result<Map<String, Value>, ProviderError> {
        let request = Request::get(address)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", token.secret()))
            .body(Vec::new())
            .map_err(|_| ProviderError::claim("access_token", "the access token has invalid characters"))?;
        let response = self.http.send(request).await?;
        let unreadable = || ProviderError::invalid("its userinfo can't be parsed");
        if response.status().as_u16() != 200 {
            let status = response.status().as_u16();
            return Err(ProviderError::invalid(format!("its userinfo has status {status}")));
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_signed =
            content_type.is_some_and(|value| value.to_ascii_lowercase().starts_with("application/jwt"));
        if !is_signed {
            return Document::parse(response.body()).ok_or_else(unreadable)?.user_claims();
        }
        let token = std::str::from_utf8(response.body()).map_err(|_| unreadable())?;
        let token = SignedToken::verify(token.trim(), &metadata.keys)?;
        if token.payload.text("iss").is_some_and(|issuer| issuer != self.config.issuer) {
            return Err(ProviderError::claim("iss", "userinfo: it is signed by another issuer"));
        }
        let audiences = token.payload.texts("aud");
        if !audiences.is_empty() && !audiences.contains(&self.config.client_id) {
            return Err(ProviderError::claim("aud", "userinfo: it is for another client"));
        }
        token.payload.user_claims()
    }

    fn client(&self, metadata: &Metadata) -> Result<OidcClient, ProviderError> {
        let wrong = |error: ParseError| ProviderError::invalid(error.to_string());
        // Basic, unless the provider accepts the secret only in the body.
        let auth_type =
            if metadata.takes_secret_in_body { AuthType::RequestBody } else { AuthType::BasicAuth };
        Ok(Client::new(self.client_id())
            .set_client_secret(self.client_secret())
            .set_auth_type(auth_type)
            .set_auth_uri(AuthUrl::new(metadata.authorization_endpoint.clone()).map_err(wrong)?)
            .set_token_uri(TokenUrl::new(metadata.token_endpoint.clone()).map_err(wrong)?)
            .set_redirect_uri(RedirectUrl::new(self.redirect.clone()).map_err(wrong)?))
    }

    fn client_id(&self) -> ClientId {
        ClientId::new(self.config.client_id.clone())
    }

    fn client_secret(&self) -> ClientSecret {
        ClientSecret::new(self.config.client_secret.expose_secret().to_owned())
    }

    /// Checks the claims of ID tokens: issuer, audience, times and nonce.
    fn verifier(&self, now: Time) -> Result<IdTokenVerifier<'static, CoreJsonWebKey>, ProviderError> {
        let clock = UNIX_EPOCH + Duration::from_secs(now.seconds().unsigned_abs());
        let issuer = IssuerUrl::new(self.config.issuer.clone());
        let issuer = issuer.map_err(|error| ProviderError::invalid(error.to_string()))?;
        let keys = JsonWebKeySet::new(Vec::new());
        let verifier =
            IdTokenVerifier::new_confidential_client(self.client_id(), self.client_secret(), issuer, keys)
                .set_time_fn(move || clock.into())
                .set_issue_time_verifier_fn(move |issued| {
                    let age = now.seconds() - issued.timestamp();
                    if age < -AHEAD {
                        return Err("iat is in the future".to_owned());
                    }
                    if age > OLDEST { Err("iat is too old".to_owned()) } else { Ok(()) }
                });
        Ok(verifier)
    }

    /// The provider's documents, fetched at most once an hour.
    async fn documents(&self, now: Instant) -> Result<Arc<Metadata>, ProviderError> {
        let known = self.documents.read().unwrap_or_else(PoisonError::into_inner).clone();
        let age = known.as_ref().map(|(_, read)| now.saturating_duration_since(*read));
        match (known, age) {
            (Some((metadata, _)), Some(age)) if age < DOCUMENTS_REFRESH => Ok(metadata),
            (Some((metadata, _)), Some(age)) if age < DOCUMENTS_MAX_AGE => {
                Ok(self.read_documents(now).await.unwrap_or(metadata))
            }
            _ => self.read_documents(now).await,
        }
    }

    async fn read_documents(&self, now: Instant) -> Result<Arc<Metadata>, ProviderError> {
        let metadata = Arc::new(Metadata::fetch(&self.config.issuer, &self.http).await?);
        *self.documents.write().unwrap_or_else(PoisonError::into_inner) = Some((metadata.clone(), now));
        Ok(metadata)
    }
}

/// The HTTP client for the token endpoint: passes on only the members that Keydesk uses, so that the others can't
/// make the oauth2 crate refuse the response.
struct TokenEndpoint<'h>(&'h Http);

impl<'c> AsyncHttpClient<'c> for TokenEndpoint<'_> {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async {
            let mut response = self.0.send(request).await?;
            if let Some(document) = Document::parse(response.body()) {
                *response.body_mut() = document.token_response().to_string().into_bytes();
            }
            Ok(response)
        })
    }
}
