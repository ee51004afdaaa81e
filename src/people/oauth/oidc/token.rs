//! Signed tokens: the signature is checked over the text as it was received (RFC 7515 section 5.2), then the claims
//! are read leniently, and the openidconnect crate checks those of ID tokens.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openidconnect::core::{CoreIdToken, CoreIdTokenClaims, CoreJsonWebKey, CoreJwsSigningAlgorithm};
use openidconnect::{
    AccessToken, AccessTokenHash, IdTokenVerifier, JsonWebKey, JsonWebKeyAlgorithm, JsonWebKeyUse,
    JwsSigningAlgorithm, Nonce, SignatureVerificationError,
};
use serde_json::{Value, json};

use crate::people::oauth::oidc::claims::claim_error;
use crate::people::oauth::oidc::lenient::Document;
use crate::people::oauth::{ProviderError, printable};

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

/// A token whose signature is valid.
pub(super) struct SignedToken<'k> {
    /// The header's members that the openidconnect crate checks.
    header: Value,
    pub(super) payload: Document,
    algorithm: CoreJwsSigningAlgorithm,
    key: &'k CoreJsonWebKey,
}

/// Why a token is not accepted.
pub(super) enum TokenError {
    /// No known key made the signature. The provider may have replaced its keys.
    UnknownKey(ProviderError),
    Invalid(ProviderError),
}

impl From<TokenError> for ProviderError {
    fn from(error: TokenError) -> ProviderError {
        match error {
            TokenError::UnknownKey(error) | TokenError::Invalid(error) => error,
        }
    }
}

fn signature(reason: impl std::fmt::Display) -> ProviderError {
    ProviderError::claim("signature", format!("signature: {reason}"))
}

impl<'k> SignedToken<'k> {
    /// Checks the signature of a token.
    pub(super) fn verify(token: &str, keys: &'k [CoreJsonWebKey]) -> Result<SignedToken<'k>, TokenError> {
        let malformed = || TokenError::Invalid(ProviderError::claim("id_token", "the token can't be parsed"));
        let [header, payload, proof] = token.split('.').collect::<Vec<_>>()[..] else {
            return Err(malformed());
        };
        let signed = &token[..header.len() + 1 + payload.len()];
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| malformed())?;
        let (payload, proof) = (decode(payload)?, decode(proof)?);
        let algorithm = algorithm(&header["alg"]).map_err(TokenError::Invalid)?;
        let kid = header["kid"].as_str();
        let mut refusal = SignatureVerificationError::NoMatchingKey;
        for key in keys.iter().filter(|key| is_eligible(key, kid, &algorithm)) {
            match key.verify_signature(&algorithm, signed.as_bytes(), &proof) {
                Ok(()) => {
                    let payload = Document::parse(&payload).ok_or_else(malformed)?;
                    return Ok(SignedToken { header, payload, algorithm, key });
                }
                Err(error) => refusal = error,
            }
        }
        Err(TokenError::UnknownKey(signature(refusal)))
    }

    /// The claims of an ID token, checked by `verifier`.
    pub(super) fn id_token_claims(
        &self,
        issuer: &str,
        verifier: IdTokenVerifier<'_, CoreJsonWebKey>,
        nonce: &Nonce,
    ) -> Result<CoreIdTokenClaims, ProviderError> {
        let mut claims = self.payload.id_token_claims()?;
        let claimed = claims["iss"].as_str().unwrap_or_default();
        if !is_issuer(claimed, issuer) {
            let reason = format!("Invalid issuer: expected `{issuer}` (found `{}`)", printable(claimed));
            return Err(ProviderError::claim("iss", reason));
        }
        claims["iss"] = json!(issuer);
        // The signature has been checked. What is parsed here is only the claims that were picked from the payload.
        let mut header = json!({ "alg": "none" });
        for name in ["typ", "cty", "crit"] {
            if let Some(value) = self.header.get(name) {
                header[name] = value.clone();
            }
        }
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let token = CoreIdToken::from_str(&format!("{}.{}.", encode(&header), encode(&claims)))
            .map_err(|_| ProviderError::claim("id_token", "the ID token can't be parsed"))?;
        let verifier = verifier.insecure_disable_signature_check();
        token.into_claims(&verifier, nonce).map_err(|error| claim_error(&error))
    }

    /// If the ID token names an access token, checks that it is the one that came with it.
    pub(super) fn check_hash(
        &self,
        claims: &CoreIdTokenClaims,
        access_token: &AccessToken,
    ) -> Result<(), ProviderError> {
        let Some(said) = claims.access_token_hash() else { return Ok(()) };
        let computed = AccessTokenHash::from_token(access_token, &self.algorithm, self.key).ok();
        if computed.as_ref() == Some(said) {
            Ok(())
        } else {
            Err(ProviderError::claim("at_hash", "at_hash belongs to another access token"))
        }
    }
}

/// Whether a token's issuer is the configured one. Google documents a second form of its own.
fn is_issuer(claimed: &str, issuer: &str) -> bool {
    claimed == issuer || (issuer == "https://accounts.google.com" && claimed == "accounts.google.com")
}

/// The algorithm of a token, if it is allowed. `Ed25519` is the name that RFC 9864 section 2.2 gives to `EdDSA` with that curve.
fn algorithm(value: &Value) -> Result<CoreJwsSigningAlgorithm, ProviderError> {
    let name = if value == "Ed25519" { &json!("EdDSA") } else { value };
    let known: Option<CoreJwsSigningAlgorithm> = serde_json::from_value(name.clone()).ok();
    known.filter(|algorithm| ALGORITHMS.contains(algorithm)).ok_or_else(|| {
        let name = printable(value.as_str().unwrap_or_default());
        signature(format!("Disallowed signature algorithm: {name}"))
    })
}

/// Whether the provider publishes this key for such a signature.
fn is_eligible(key: &CoreJsonWebKey, kid: Option<&str>, algorithm: &CoreJwsSigningAlgorithm) -> bool {
    let has_id = kid.is_none_or(|kid| key.key_id().is_some_and(|own| own.as_str() == kid));
    let may_sign = key.key_use().is_none_or(JsonWebKeyUse::allows_signature);
    let has_type = algorithm.key_type().as_ref() == Some(key.key_type());
    let is_for = match key.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => true,
        JsonWebKeyAlgorithm::Algorithm(own) => own == algorithm,
        JsonWebKeyAlgorithm::Unsupported => false,
    };
    has_id && may_sign && has_type && is_for
}

#[cfg(test)]
mod tests {
    use super::is_issuer;

    #[test]
    fn only_google_has_two_forms_of_its_issuer() {
        let google = "https://accounts.google.com";
        assert!(is_issuer(google, google) && is_issuer("accounts.google.com", google));
        for (claimed, issuer) in [
            ("http://accounts.google.com", google),
            ("accounts.google.com.evil.example", google),
            (google, "accounts.google.com"),
            ("sso.example.com", "https://sso.example.com"),
            ("https://sso.example.com/", "https://sso.example.com"),
            ("", google),
        ] {
            assert!(!is_issuer(claimed, issuer), "{claimed} for {issuer}");
        }
    }
}
