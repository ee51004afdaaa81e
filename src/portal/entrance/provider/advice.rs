//! What people can forward to their administrator when a sign-in through a provider is refused: the claim, and the
//! setting to change.

use crate::people::oauth::{Provider, ProviderEmail, ProviderError};
use crate::portal::entrance::provider::reason::Refused;

const ISSUER: &str = "KEYDESK_OIDC_ISSUER";
const CLIENT_ID: &str = "KEYDESK_OIDC_CLIENT_ID";
const CLIENT_SECRET: &str = "KEYDESK_OIDC_CLIENT_SECRET";
const TRUST_EMAIL: &str = "KEYDESK_OIDC_TRUST_EMAIL";

/// The advice about a claim or another member of a provider's response; `None` if the person can help themselves.
pub(super) fn for_claim(claim: &str, refused: &Refused, provider: Provider<'_>) -> Option<String> {
    let (name, variable) = (provider.name(), |first| provider.variable(first));
    let text = match (claim, refused) {
        ("sub", Refused::OtherIdentity) => return None,
        (_, Refused::Address(ProviderEmail::Verified(_), _)) => return None,
        ("email", Refused::Address(..)) => {
            format!(
                "{name} sends no claim email. Let it include the claim in ID tokens or userinfo for the scope email."
            )
        }
        (_, Refused::Address(ProviderEmail::Unverified(_), _)) => format!(
            "{name} sends the claim email_verified with the value false. Verify the address at {name}, or change the mapping of the claim there."
        ),
        (_, Refused::Address(..)) => format!(
            "{name} sends no claim email_verified. If its administrators assign all e-mail addresses, set {}=1 to treat them as verified.",
            variable(TRUST_EMAIL)
        ),
        ("auth_time", Refused::NoTimeOfSignIn) => {
            format!("{name} sends no claim auth_time. Let it include the claim in ID tokens.")
        }
        ("auth_time", _) => format!(
            "{name} ignores prompt=login and max_age=0, or its clock is wrong: the claim auth_time is not the time of this sign-in."
        ),
        ("issuer" | "iss", _) => format!(
            "the issuer that {name} sends is not the configured one. Set {} to the issuer in its discovery document, character by character.",
            variable(ISSUER)
        ),
        ("aud" | "azp", _) => format!(
            "the claim {claim} of {name}’s token names another client. Check {}. A token for several audiences needs the claim azp with this client ID.",
            variable(CLIENT_ID)
        ),
        ("exp" | "iat", _) => format!(
            "the claim {claim} of {name}’s token does not fit the time here. Compare the clocks of {name} and of Keydesk’s server."
        ),
        ("signature", _) => format!(
            "the signature of {name}’s token can’t be verified. Let {name} sign ID tokens with a published key and RS256, PS256, ES256 or EdDSA."
        ),
        ("error", Refused::Provider(ProviderError::Denied(error))) => format!(
            "{name} answered with the error {error}. Check the redirect URI and {}, and that {name} does not require pushed authorization requests (PAR) or signed requests of this client.",
            variable(CLIENT_ID)
        ),
        ("error", _) => format!(
            "{name}’s token endpoint refused Keydesk’s request. Check {} and {}.",
            variable(CLIENT_ID),
            variable(CLIENT_SECRET)
        ),
        ("require_pushed_authorization_requests", _) => format!(
            "{name} accepts only pushed authorization requests (PAR, RFC 9126), which Keydesk does not support. Turn the requirement off for this client."
        ),
        _ => format!(
            "the member {claim} of {name}’s response is missing or invalid. Keydesk’s log has the details."
        ),
    };
    Some(text)
}
