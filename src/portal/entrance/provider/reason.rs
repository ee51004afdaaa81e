//! Why a sign-in through a provider is refused, in words for the log and for the person.

use actix_web::http::StatusCode;

use crate::error::Error;
use crate::people::oauth::{ProviderEmail, ProviderError};
use crate::web::problem::Problem;

/// Why a sign-in through a provider is refused.
pub(super) enum Refused {
    /// The provider refused it or answered wrongly.
    Provider(ProviderError),
    /// This browser did not start it, or too long ago.
    Lost,
    /// No account is connected to this identity.
    Unknown,
    /// The provider has not verified the invited address, which comes second.
    Address(ProviderEmail, String),
    /// The invited address has an account.
    KnownAddress,
    /// The account is disabled.
    Disabled,
    /// The identity belongs to another account.
    Taken,
    /// Someone else is signed in at the provider.
    OtherIdentity,
    /// The provider did not ask the person to sign in again.
    OldSignIn,
    /// The provider does not report when the person signed in.
    NoTimeOfSignIn,
    /// Keydesk itself failed.
    Problem(Problem),
}

impl From<ProviderError> for Refused {
    fn from(refusal: ProviderError) -> Refused {
        Refused::Provider(refusal)
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Problem(error.into())
    }
}

impl Refused {
    /// The claim or other member of the provider's response because of which the sign-in is refused.
    pub(super) fn claim(&self) -> Option<&'static str> {
        match self {
            // A person who says no at the provider needs no administrator.
            Refused::Provider(ProviderError::Denied(error)) if !error.starts_with("access_denied") => {
                Some("error")
            }
            Refused::Provider(refusal) => refusal.invalid_claim(),
            Refused::Address(ProviderEmail::Absent | ProviderEmail::Verified(_), _) => Some("email"),
            Refused::Address(_, _) => Some("email_verified"),
            Refused::OldSignIn | Refused::NoTimeOfSignIn => Some("auth_time"),
            Refused::OtherIdentity => Some("sub"),
            _ => None,
        }
    }

    /// The reason for the log, the status, and the message.
    pub(super) fn parts(&self, provider: &str) -> (String, StatusCode, String) {
        let forbidden = StatusCode::FORBIDDEN;
        match self {
            Refused::Provider(refusal @ ProviderError::Unreachable(_)) => (
                refusal.to_string(),
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{provider} does not answer right now. Nothing was changed. Try again in a moment, or sign in another way."),
            ),
            Refused::Provider(refusal @ (ProviderError::InvalidResponse(_) | ProviderError::Claim { .. })) => (
                refusal.to_string(),
                StatusCode::BAD_REQUEST,
                format!("Keydesk can’t accept what {provider} sent. Nothing was changed. Try again. If it happens again, sign in another way and tell your administrator."),
            ),
            Refused::Provider(refusal @ ProviderError::Denied(_)) => {
                (refusal.to_string(), forbidden, format!("{provider} refused the sign-in. Nothing was changed."))
            }
            Refused::Lost => (
                "there is no such state in this browser".to_owned(),
                StatusCode::BAD_REQUEST,
                "This sign-in was started in another browser, was already used, or took longer than 10 minutes. Start again.".to_owned(),
            ),
            Refused::Unknown => (
                "no account has this identity".to_owned(),
                forbidden,
                format!("No account here uses this sign-in at {provider}. Ask an admin for an invitation, or sign in another way and connect {provider} on your account page."),
            ),
            Refused::Address(email, invited) => address_parts(email, invited, provider),
            Refused::KnownAddress => (
                "the invited address has an account".to_owned(),
                forbidden,
                format!("The invited address has an account here. The invitation stays open. Sign in to that account another way; you can connect {provider} on your account page then."),
            ),
            Refused::Disabled => (
                "the account is disabled".to_owned(),
                forbidden,
                "Your account may not sign in. Ask an admin of your organisation.".to_owned(),
            ),
            Refused::Taken => (
                "the identity belongs to an account".to_owned(),
                StatusCode::CONFLICT,
                format!("This sign-in at {provider} already belongs to another account."),
            ),
            Refused::OtherIdentity => (
                "another identity signed in".to_owned(),
                forbidden,
                format!("Someone else is signed in at {provider}. Sign out there, or choose your own account there."),
            ),
            Refused::OldSignIn => (
                "auth_time is not the time of this sign-in".to_owned(),
                forbidden,
                format!("{provider} did not ask you to sign in again, so it did not confirm your identity. Sign out there and try again, or confirm with your Keydesk password."),
            ),
            Refused::NoTimeOfSignIn => (
                "auth_time is missing".to_owned(),
                forbidden,
                format!("{provider} does not report when you signed in there, so it can’t confirm your identity. Signing out and in again does not help. Confirm with your Keydesk password instead."),
            ),
            Refused::Problem(problem) => (problem.to_string(), problem.code.status(), problem.detail.clone()),
        }
    }
}

/// What an identity's address lacks to accept an invitation.
fn address_parts(email: &ProviderEmail, invited: &str, provider: &str) -> (String, StatusCode, String) {
    let (reason, words) = match email {
        ProviderEmail::Absent => {
            ("email is missing", format!("{provider} did not send your e-mail address to Keydesk."))
        }
        ProviderEmail::Unverified(address) => (
            "email_verified is false",
            format!(
                "{provider} says that it has not verified your address {address}. Verify it there and try again."
            ),
        ),
        ProviderEmail::Unstated(address) => (
            "email_verified is missing",
            format!("{provider} does not say whether it has verified your address {address}."),
        ),
        ProviderEmail::Verified(address) => (
            "email is another address than the invited one",
            format!("The invitation is for {invited}, but your address at {provider} is {address}."),
        ),
    };
    let way_out = "The invitation stays open: you can accept it with a password, or ask for an invitation to your address.";
    (reason.to_owned(), StatusCode::FORBIDDEN, format!("{words} {way_out}"))
}
