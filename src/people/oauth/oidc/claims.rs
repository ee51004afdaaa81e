//! What an ID token or the userinfo endpoint says about a person, and which claim is invalid.

use openidconnect::ClaimsVerificationError;
use openidconnect::core::CoreIdTokenClaims;
use serde_json::{Map, Value};

use crate::people::oauth::{Identity, Kind, ProviderEmail, ProviderError, printable};
use crate::time::Time;

pub(super) fn identity(
    issuer: &str,
    claims: &CoreIdTokenClaims,
    trust_email: bool,
) -> Result<Identity, ProviderError> {
    let subject = claims.subject();
    if subject.is_empty() || subject.len() > 255 || !subject.is_ascii() {
        return Err(ProviderError::claim("sub", "sub is empty, too long or not ASCII"));
    }
    let email = claims.email().map(|email| email.as_str());
    let username = claims.preferred_username().map(|name| name.as_str());
    Ok(Identity {
        kind: Kind::Oidc,
        issuer: issuer.to_owned(),
        subject: subject.to_string(),
        email: provider_email(email, claims.email_verified(), trust_email),
        name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
        label: printable(email.or(username).unwrap_or(subject)),
        proved_at: claims.auth_time().map(|time| Time::from_seconds(time.timestamp())),
    })
}

/// Adds what the userinfo endpoint says to what the ID token says.
pub(super) fn add_user_claims(identity: &mut Identity, claims: &Map<String, Value>, trust_email: bool) {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let email = text("email");
    identity.email =
        provider_email(email, claims.get("email_verified").and_then(Value::as_bool), trust_email);
    if identity.name.is_none() {
        identity.name = text("name").map(str::to_owned);
    }
    if let Some(label) = email.or_else(|| text("preferred_username")) {
        identity.label = printable(label);
    }
}

fn provider_email(email: Option<&str>, verified: Option<bool>, trusted: bool) -> ProviderEmail {
    let Some(email) = email.map(str::to_owned) else { return ProviderEmail::Absent };
    match verified {
        Some(true) => ProviderEmail::Verified(email),
        Some(false) => ProviderEmail::Unverified(email),
        None if trusted => ProviderEmail::Verified(email),
        None => ProviderEmail::Unstated(email),
    }
}

/// Names the claim that the openidconnect crate refused.
pub(super) fn claim_error(error: &ClaimsVerificationError) -> ProviderError {
    let claim = match error {
        ClaimsVerificationError::Expired(reason) if reason.starts_with("iat") => "iat",
        ClaimsVerificationError::Expired(_) => "exp",
        ClaimsVerificationError::InvalidAudience(_) => "aud",
        ClaimsVerificationError::InvalidIssuer(_) => "iss",
        ClaimsVerificationError::InvalidNonce(_) => "nonce",
        ClaimsVerificationError::InvalidSubject(_) => "sub",
        _ => "id_token",
    };
    let reason = error.to_string();
    ProviderError::claim(
        claim,
        reason.chars().filter(|letter| !letter.is_control()).take(200).collect::<String>(),
    )
}
