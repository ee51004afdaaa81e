//! OpenID Connect Core 1.0 as a relying party, by discovery.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClaimName, CoreClaimType, CoreClient,
    CoreClientAuthMethod, CoreGenderClaim, CoreGrantType, CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreJwsSigningAlgorithm,
    CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType, CoreTokenType,
};
use openidconnect::{
    AccessToken, AccessTokenHash, AdditionalProviderMetadata, AuthType, AuthorizationCode,
    ClaimsVerificationError, ClientId, ClientSecret, CsrfToken, DiscoveryError, EmptyAdditionalClaims,
    IdTokenVerifier, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, ProviderMetadata, RedirectUrl,
    Scope, SignatureVerificationError, SubjectIdentifier, TokenResponse, UserInfoClaims, UserInfoError,
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::config::OidcConfig;
use crate::people::oauth::http::{HttpError, is_allowed};
use crate::people::oauth::{
    Answer, Challenge, Http, Identity, Kind, Refusal, printable, token_refusal, verifier,
};
use crate::time::{MINUTE, Time};

/// How long the provider's documents are believed before they are read again.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// How long they are believed when they can't be read again.
const BELIEVED_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// How far the provider's clock may be ahead, and how old its token may be, in seconds.
const AHEAD: i64 = MINUTE;
const OLDEST: i64 = 10 * MINUTE;
/// Signatures by keys that the provider alone has. Never `none`, never by a shared secret.
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

    /// How people call it.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Its issuer.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Where to send someone.
    pub async fn authorize_url(&self, challenge: &Challenge, now: Instant) -> Result<String, Refusal> {
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

    /// Checks who answers.
    pub async fn check_issuer(&self, issuer: Option<&str>, now: Instant) -> Result<(), Refusal> {
        match issuer {
            Some(issuer) if issuer != self.config.issuer => {
                Err(Refusal::answer(format!("iss of the response is {:?}", printable(issuer))))
            }
            Some(_) => Ok(()),
            None => {
                let metadata = self.documents(now).await?;
                if metadata.additional_metadata().authorization_response_iss_parameter_supported {
                    return Err(Refusal::answer("iss of the response is missing"));
                }
                Ok(())
            }
        }
    }

    /// Who someone is who came back with this answer.
    pub async fn identify(&self, answer: Answer, now: Time, clock: Instant) -> Result<Identity, Refusal> {
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
            .map_err(|_| Refusal::answer("its documents name no token endpoint"))?
            .set_pkce_verifier(verifier(&answer.verifier))
            .request_async(&self.http)
            .await
            .map_err(token_refusal)?;
        if *tokens.token_type() != CoreTokenType::Bearer {
            return Err(Refusal::answer("the access token is of another type than bearer"));
        }
        let id_token = tokens.id_token().ok_or_else(|| Refusal::answer("there is no ID token"))?;
        let nonce = Nonce::new(answer.nonce);
        let mut verifier = self.verifier(&metadata, now);
        let mut checked = id_token.claims(&verifier, &nonce);
        if checked.as_ref().is_err_and(is_unknown_key) {
            // The provider may have changed its keys since they were read.
            verifier = self.verifier(&*self.read_documents(clock).await?, now);
            checked = id_token.claims(&verifier, &nonce);
        }
        let claims = checked.map_err(|error| Refusal::answer(words(&error)))?;
        // The crate leaves azp to whoever uses it.
        if claims.authorized_party().is_some_and(|party| **party != self.config.client_id) {
            return Err(Refusal::answer("azp is another client"));
        }
        check_hash(id_token, claims, &verifier, tokens.access_token())?;
        let mut identity = identity(&self.config.issuer, claims)?;
        if claims.email().is_none() && metadata.userinfo_endpoint().is_some() {
            let request = client
                .user_info(bearer(tokens.access_token())?, Some(claims.subject().clone()))
                .map_err(|_| Refusal::answer("its documents name no userinfo endpoint"))?;
            let info: UserInfoClaims<EmptyAdditionalClaims, CoreGenderClaim> =
                request.request_async(&self.http).await.map_err(userinfo_refusal)?;
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

    fn redirect(&self) -> Result<RedirectUrl, Refusal> {
        RedirectUrl::new(self.redirect.clone()).map_err(|error| Refusal::answer(error.to_string()))
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
                return Err("iat lies in the future".to_owned());
            }
            if age > OLDEST { Err("iat lies too far back".to_owned()) } else { Ok(()) }
        })
    }

    /// The provider's documents, read at most once an hour.
    async fn documents(&self, now: Instant) -> Result<Arc<Metadata>, Refusal> {
        let known = self.documents.read().unwrap_or_else(PoisonError::into_inner).clone();
        let age = known.as_ref().map(|(_, read)| now.saturating_duration_since(*read));
        match (known, age) {
            (Some((metadata, _)), Some(age)) if age < BELIEVED => Ok(metadata),
            (Some((metadata, _)), Some(age)) if age < BELIEVED_AT_MOST => {
                Ok(self.read_documents(now).await.unwrap_or(metadata))
            }
            _ => self.read_documents(now).await,
        }
    }

    async fn read_documents(&self, now: Instant) -> Result<Arc<Metadata>, Refusal> {
        let issuer =
            IssuerUrl::new(self.config.issuer.clone()).map_err(|error| Refusal::answer(error.to_string()))?;
        // It refuses documents that name another issuer.
        let metadata = Metadata::discover_async(issuer, &self.http).await.map_err(discovery_refusal)?;
        // The others are looked at when they are called; this one, people are sent to.
        let address = metadata.authorization_endpoint().url().as_str();
        if !is_allowed(address) {
            return Err(HttpError::Address(printable(address)).into());
        }
        let metadata = Arc::new(metadata);
        *self.documents.write().unwrap_or_else(PoisonError::into_inner) = Some((metadata.clone(), now));
        Ok(metadata)
    }
}

fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    matches!(
        error,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_)
        )
    )
}

/// Where the ID token names the access token that came with it, it must be that one.
fn check_hash(
    token: &CoreIdToken,
    claims: &CoreIdTokenClaims,
    verifier: &IdTokenVerifier<'_, CoreJsonWebKey>,
    access_token: &AccessToken,
) -> Result<(), Refusal> {
    let Some(said) = claims.access_token_hash() else { return Ok(()) };
    let key = token.signing_alg().and_then(|algorithm| Ok((algorithm, token.signing_key(verifier)?)));
    let computed =
        key.ok().and_then(|(algorithm, key)| AccessTokenHash::from_token(access_token, algorithm, key).ok());
    if computed.as_ref() == Some(said) {
        Ok(())
    } else {
        Err(Refusal::answer("at_hash is of another access token"))
    }
}

fn identity(issuer: &str, claims: &CoreIdTokenClaims) -> Result<Identity, Refusal> {
    let subject: &SubjectIdentifier = claims.subject();
    if subject.is_empty() || subject.len() > 255 || !subject.is_ascii() {
        return Err(Refusal::answer("sub is empty, too long or not ASCII"));
    }
    let verified = claims.email_verified() == Some(true);
    let label = claims.email().map_or(subject.as_str(), |email| email.as_str());
    Ok(Identity {
        kind: Kind::Oidc,
        issuer: issuer.to_owned(),
        subject: subject.to_string(),
        email: claims.email().filter(|_| verified).map(|email| email.to_string()),
        name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
        label: printable(label),
        proved_at: claims.auth_time().map(|time| Time::from_seconds(time.timestamp())),
    })
}

/// Basic unless the provider takes the secret in the body alone.
fn auth_type(metadata: &Metadata) -> AuthType {
    let ways = metadata.token_endpoint_auth_methods_supported();
    let takes = |way| ways.is_some_and(|ways| ways.contains(&way));
    let body_alone =
        takes(CoreClientAuthMethod::ClientSecretPost) && !takes(CoreClientAuthMethod::ClientSecretBasic);
    if body_alone { AuthType::RequestBody } else { AuthType::BasicAuth }
}

/// A token that fits into a header; the crate takes that for granted.
fn bearer(token: &AccessToken) -> Result<AccessToken, Refusal> {
    if token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token.clone())
    } else {
        Err(Refusal::answer("the access token has characters that no token has"))
    }
}

fn words(error: &ClaimsVerificationError) -> String {
    let text = match error {
        ClaimsVerificationError::SignatureVerification(cause) => format!("signature: {cause}"),
        error => error.to_string(),
    };
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

fn discovery_refusal(error: DiscoveryError<HttpError>) -> Refusal {
    match error {
        DiscoveryError::Request(error) => error.into(),
        DiscoveryError::Response(status, _, _) => {
            Refusal::answer(format!("its documents come with status {} or as another type", status.as_u16()))
        }
        DiscoveryError::Validation(reason) => Refusal::answer(printable(&reason)),
        DiscoveryError::Parse(_) => Refusal::answer("its documents can't be read"),
        _ => Refusal::answer("its documents are not there"),
    }
}

fn userinfo_refusal(error: UserInfoError<HttpError>) -> Refusal {
    match error {
        UserInfoError::Request(error) => error.into(),
        UserInfoError::ClaimsVerification(error) => Refusal::answer(format!("userinfo: {}", words(&error))),
        _ => Refusal::answer("its userinfo can't be read"),
    }
}
