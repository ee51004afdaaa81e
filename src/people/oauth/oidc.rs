//! OpenID Connect Core 1.0 as a relying party, by discovery.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient,
    CoreClientAuthMethod, CoreGenderClaim, CoreGrantType, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType, CoreTokenType,
};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    EmptyAdditionalClaims, IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    ProviderMetadata, RedirectUrl, Scope, TokenResponse, UserInfoClaims,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::OidcConfig;
use crate::people::oauth::http::{HttpError, is_allowed};
use crate::people::oauth::{
    Challenge, Http, Identity, ProviderError, ProviderResponse, printable, token_error, verifier,
};
use crate::time::{MINUTE, Time};

mod claims;

use self::claims::{bearer, check_hash, discovery_error, identity, is_unknown_key, userinfo_error, words};

/// How long the provider's documents are used before they are fetched again.
const DOCUMENTS_REFRESH: Duration = Duration::from_secs(60 * 60);
/// How long they are used if they can't be fetched again.
const DOCUMENTS_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the provider's clock may be ahead, and how old its token may be, in seconds.
const AHEAD: i64 = MINUTE;
const OLDEST: i64 = 10 * MINUTE;
/// Signatures by keys that only the provider has: never `none`, never a shared secret.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// RFC 9207 section 3.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Extra {
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for Extra {}

type Metadata = ProviderMetadata<
    Extra,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
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

    /// The display name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// The URL to which the browser is sent.
    pub async fn authorize_url(&self, challenge: &Challenge, now: Instant) -> Result<String, ProviderError> {
        let metadata = self.documents(now).await?;
        let client = CoreClient::from_provider_metadata((*metadata).clone(), self.client_id(), None)
            .set_redirect_uri(self.redirect()?);
        let (state, nonce) = (CsrfToken::new(challenge.state.clone()), Nonce::new(challenge.nonce.clone()));
        let request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, || state, || nonce)
            .add_scope(Scope::new("email".to_owned()))
            .add_scope(Scope::new("profile".to_owned()))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier(&challenge.verifier)));
        let request = if challenge.again {
            request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO)
        } else {
            request
        };
        Ok(request.url().0.to_string())
    }

    /// Checks the issuer of the response.
    pub async fn check_issuer(&self, issuer: Option<&str>, now: Instant) -> Result<(), ProviderError> {
        match issuer {
            Some(issuer) if issuer != self.config.issuer => {
                Err(ProviderError::invalid(format!("iss of the response is {:?}", printable(issuer))))
            }
            Some(_) => Ok(()),
            None => {
                let metadata = self.documents(now).await?;
                if metadata.additional_metadata().authorization_response_iss_parameter_supported {
                    return Err(ProviderError::invalid("iss of the response is missing"));
                }
                Ok(())
            }
        }
    }

    /// Exchanges the provider's response for an identity.
    pub async fn identify(
        &self,
        answer: ProviderResponse,
        now: Time,
        clock: Instant,
    ) -> Result<Identity, ProviderError> {
        let metadata = self.documents(clock).await?;
        let client = CoreClient::from_provider_metadata(
            (*metadata).clone(),
            self.client_id(),
            Some(ClientSecret::new(self.config.client_secret.expose_secret().to_owned())),
        )
        .set_redirect_uri(self.redirect()?)
        .set_auth_type(auth_type(&metadata));
        let tokens = client
            .exchange_code(AuthorizationCode::new(answer.code))
            .map_err(|_| ProviderError::invalid("its metadata has no token endpoint"))?
            .set_pkce_verifier(verifier(&answer.verifier))
            .request_async(&self.http)
            .await
            .map_err(token_error)?;
        if *tokens.token_type() != CoreTokenType::Bearer {
            return Err(ProviderError::invalid("the access token's type is not bearer"));
        }
        let id_token = tokens.id_token().ok_or_else(|| ProviderError::invalid("there is no ID token"))?;
        let nonce = Nonce::new(answer.nonce);
        let mut verifier = self.verifier(&metadata, now);
        let mut checked = id_token.claims(&verifier, &nonce);
        if checked.as_ref().is_err_and(is_unknown_key) {
            // The provider may have rotated its keys since they were fetched.
            verifier = self.verifier(&*self.read_documents(clock).await?, now);
            checked = id_token.claims(&verifier, &nonce);
        }
        let claims = checked.map_err(|error| ProviderError::invalid(words(&error)))?;
        // The openidconnect crate leaves checking azp to its users.
        if claims.authorized_party().is_some_and(|party| **party != self.config.client_id) {
            return Err(ProviderError::invalid("azp is another client"));
        }
        check_hash(id_token, claims, &verifier, tokens.access_token())?;
        let mut identity = identity(&self.config.issuer, claims)?;
        if claims.email().is_none() && metadata.userinfo_endpoint().is_some() {
            let request = client
                .user_info(bearer(tokens.access_token())?, Some(claims.subject().clone()))
                .map_err(|_| ProviderError::invalid("its metadata has no userinfo endpoint"))?;
            let info: UserInfoClaims<EmptyAdditionalClaims, CoreGenderClaim> =
                request.request_async(&self.http).await.map_err(userinfo_error)?;
            let verified = info.email_verified() == Some(true);
            identity.email = info.email().filter(|_| verified).map(|email| email.to_string());
            let name = info.name().and_then(|name| name.get(None)).map(|name| name.to_string());
            identity.name = identity.name.or(name);
            if let Some(email) = info.email() {
                identity.label = printable(email);
            }
        }
        Ok(identity)
    }

    fn client_id(&self) -> ClientId {
        ClientId::new(self.config.client_id.clone())
    }

    fn redirect(&self) -> Result<RedirectUrl, ProviderError> {
        RedirectUrl::new(self.redirect.clone()).map_err(|error| ProviderError::invalid(error.to_string()))
    }

    fn verifier(&self, metadata: &Metadata, now: Time) -> IdTokenVerifier<'static, CoreJsonWebKey> {
        let clock = UNIX_EPOCH + Duration::from_secs(now.seconds().unsigned_abs());
        IdTokenVerifier::new_confidential_client(
            self.client_id(),
            ClientSecret::new(self.config.client_secret.expose_secret().to_owned()),
            metadata.issuer().clone(),
            metadata.jwks().clone(),
        )
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || clock.into())
        .set_issue_time_verifier_fn(move |issued| {
            let age = now.seconds() - issued.timestamp();
            if age < -AHEAD {
                return Err("iat is in the future".to_owned());
            }
            if age > OLDEST { Err("iat is too old".to_owned()) } else { Ok(()) }
        })
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
        let issuer = IssuerUrl::new(self.config.issuer.clone())
            .map_err(|error| ProviderError::invalid(error.to_string()))?;
        // This refuses documents that name another issuer.
        let metadata = Metadata::discover_async(issuer, &self.http).await.map_err(discovery_error)?;
        // The other endpoints are checked when they are requested; browsers are sent to this one.
        let address = metadata.authorization_endpoint().url().as_str();
        if !is_allowed(address) {
            return Err(HttpError::Address(printable(address)).into());
        }
        let metadata = Arc::new(metadata);
        *self.documents.write().unwrap_or_else(PoisonError::into_inner) = Some((metadata.clone(), now));
        Ok(metadata)
    }
}

/// Basic, unless the provider accepts the secret only in the body.
fn auth_type(metadata: &Metadata) -> AuthType {
    let ways = metadata.token_endpoint_auth_methods_supported();
    let takes = |way| ways.is_some_and(|ways| ways.contains(&way));
    let body_alone =
        takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
    if body_alone { AuthType::RequestBody } else { AuthType::BasicAuth }
}
