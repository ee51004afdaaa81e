//! The claims in a provider's response, and why a response is invalid.

use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, DiscoveryError, IdTokenVerifier,
    SignatureVerificationError, SubjectIdentifier, UserInfoError,
};

use crate::people::oauth::http::HttpError;
use crate::people::oauth::{Identity, Kind, ProviderError, printable};
use crate::time::Time;

pub(super) fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    matches!(
        error,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_)
        )
    )
}

/// If the ID token names an access token, checks that it is the one that came with it.
pub(super) fn check_hash(
    token: &CoreIdToken,
    claims: &CoreIdTokenClaims,
    verifier: &IdTokenVerifier<'_, CoreJsonWebKey>,
    access_token: &AccessToken,
) -> Result<(), ProviderError> {
    let Some(said) = claims.access_token_hash() else { return Ok(()) };
    let key = token.signing_alg().and_then(|algorithm| Ok((algorithm, token.signing_key(verifier)?)));
    let computed =
        key.ok().and_then(|(algorithm, key)| AccessTokenHash::from_token(access_token, algorithm, key).ok());
    if computed.as_ref() == Some(said) {
        Ok(())
    } else {
        Err(ProviderError::invalid("at_hash belongs to another access token"))
    }
}

pub(super) fn identity(issuer: &str, claims: &CoreIdTokenClaims) -> Result<Identity, ProviderError> {
    let subject: &SubjectIdentifier = claims.subject();
    if subject.is_empty() || subject.len() > 255 || !subject.is_ascii() {
        return Err(ProviderError::invalid("sub is empty, too long or not ASCII"));
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

/// Checks that a token fits into a header, which the openidconnect crate takes for granted.
pub(super) fn bearer(token: &AccessToken) -> Result<AccessToken, ProviderError> {
    if token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token.clone())
    } else {
        Err(ProviderError::invalid("the access token has invalid characters"))
    }
}

pub(super) fn words(error: &ClaimsVerificationError) -> String {
    let text = match error {
        ClaimsVerificationError::SignatureVerification(cause) => format!("signature: {cause}"),
        error => error.to_string(),
    };
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

pub(super) fn discovery_error(error: DiscoveryError<HttpError>) -> ProviderError {
    match error {
        DiscoveryError::Request(error) => error.into(),
        DiscoveryError::Response(status, _, _) => {
            ProviderError::invalid(format!("its metadata has status {} or the wrong type", status.as_u16()))
        }
        DiscoveryError::Validation(reason) => ProviderError::invalid(printable(&reason)),
        DiscoveryError::Parse(_) => ProviderError::invalid("its metadata can't be parsed"),
        _ => ProviderError::invalid("its metadata is missing"),
    }
}

pub(super) fn userinfo_error(error: UserInfoError<HttpError>) -> ProviderError {
    match error {
        UserInfoError::Request(error) => error.into(),
        UserInfoError::ClaimsVerification(error) => {
            ProviderError::invalid(format!("userinfo: {}", words(&error)))
        }
        _ => ProviderError::invalid("its userinfo can't be parsed"),
    }
}
