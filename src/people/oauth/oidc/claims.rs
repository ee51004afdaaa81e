//! The claims of a provider's answer, and why an answer is refused.

use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, DiscoveryError, IdTokenVerifier,
    SignatureVerificationError, SubjectIdentifier, UserInfoError,
};

use crate::people::oauth::http::HttpError;
use crate::people::oauth::{Identity, Kind, Refusal, printable};
use crate::time::Time;

pub(super) fn is_unknown_key(error: &ClaimsVerificationError) -> bool {
    matches!(
        error,
        ClaimsVerificationError::SignatureVerification(
            SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_)
        )
    )
}

/// Where the ID token names the access token that came with it, it must be that one.
pub(super) fn check_hash(
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

pub(super) fn identity(issuer: &str, claims: &CoreIdTokenClaims) -> Result<Identity, Refusal> {
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

/// A token that fits into a header; the crate takes that for granted.
pub(super) fn bearer(token: &AccessToken) -> Result<AccessToken, Refusal> {
    if token.secret().bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(token.clone())
    } else {
        Err(Refusal::answer("the access token has characters that no token has"))
    }
}

pub(super) fn words(error: &ClaimsVerificationError) -> String {
    let text = match error {
        ClaimsVerificationError::SignatureVerification(cause) => format!("signature: {cause}"),
        error => error.to_string(),
    };
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

pub(super) fn discovery_refusal(error: DiscoveryError<HttpError>) -> Refusal {
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

pub(super) fn userinfo_refusal(error: UserInfoError<HttpError>) -> Refusal {
    match error {
        UserInfoError::Request(error) => error.into(),
        UserInfoError::ClaimsVerification(error) => Refusal::answer(format!("userinfo: {}", words(&error))),
        _ => Refusal::answer("its userinfo can't be read"),
    }
}
