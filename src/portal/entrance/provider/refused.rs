//! The page about a sign-in through a provider that was refused.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use askama::Template;

use crate::error::Error;
use crate::path::{self, Href};
use crate::people::oauth::flow::Purpose;
use crate::people::oauth::{Provider, ProviderError};
use crate::portal::kit::visit::Visit;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;
use crate::web::request::request_id;

#[derive(Template)]
#[template(path = "portal/entrance/provider.html")]
struct RefusedPage {
    layout: Layout,
    title: String,
    words: String,
    /// The link to try again, with its label.
    again: (Href, &'static str),
    request: String,
}

/// Why a sign-in through a provider is refused.
pub(super) enum Refused {
    /// The provider refused it or answered wrongly.
    Provider(ProviderError),
    /// This browser did not start it, or too long ago.
    Lost,
    /// No account is connected to this identity.
    Unknown,
    /// The provider verified another address than the invited one.
    OtherAddress,
    /// The invited address has an account.
    KnownAddress,
    /// The account is disabled.
    Disabled,
    /// The identity belongs to another account.
    Taken,
    /// The provider did not confirm the identity of the person who is signed in.
    NotProved,
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

/// Logs and answers a refused sign-in.
pub(super) fn refuse<V>(
    provider: Provider<'_>,
    purpose: Purpose,
    next: &Href,
    refused: Refused,
    visit: &Visit<V>,
) -> Result<HttpResponse, Problem> {
    let (reason, status, words) = refused.parts(provider.name());
    let (provider_name, id) = (provider.kind().name(), request_id(&visit.request).to_string());
    if matches!(refused, Refused::Lost) {
        // Anyone can open this address without having started a sign-in.
        tracing::debug!(provider = provider_name, reason, request = id, "a sign-in was refused");
    } else {
        tracing::warn!(provider = provider_name, reason, request = id, "a sign-in was refused");
    }
    let (title, again) = match purpose {
        Purpose::SignIn => {
            ("You are not signed in".to_owned(), (path::sign_in().then(next), "Back to sign-in"))
        }
        Purpose::Connect(_) => {
            (format!("{} was not connected", provider.name()), (path::account(), "Back to your account"))
        }
        Purpose::Again(_) => {
            ("It is not confirmed that it is you".to_owned(), (path::sign_in_again().then(next), "Try again"))
        }
    };
    let layout = visit.layout(NavSection::None);
    let page = RefusedPage { layout, title, words, again, request: request_id(&visit.request).to_string() };
    let mut response = visit.page_with_status(status, &page)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    Ok(response)
}

impl Refused {
    /// The reason for the log, the status, and the message.
    fn parts(&self, provider: &str) -> (String, StatusCode, String) {
        let forbidden = StatusCode::FORBIDDEN;
        match self {
            Refused::Provider(refusal @ ProviderError::Unreachable(_)) => (
                refusal.to_string(),
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{provider} does not answer right now. Nothing was changed. Try again in a moment, or sign in another way."),
            ),
            Refused::Provider(refusal @ ProviderError::InvalidResponse(_)) => (
                refusal.to_string(),
                StatusCode::BAD_REQUEST,
                format!("What {provider} answered can't be trusted. Nothing was changed. Try again; if it happens again, tell whoever runs Keydesk: its log says why."),
            ),
            Refused::Provider(refusal @ ProviderError::Denied(_)) => {
                (refusal.to_string(), forbidden, format!("{provider} did not let you through. Nothing was changed."))
            }
            Refused::Lost => (
                "there is no such state in this browser".to_owned(),
                StatusCode::BAD_REQUEST,
                "This way was begun in another browser, was used already, or took longer than 10 minutes. Begin again.".to_owned(),
            ),
            Refused::Unknown => (
                "nobody signs in by this identity".to_owned(),
                forbidden,
                format!("No account here uses this sign-in at {provider}. Ask an admin for an invitation, or sign in another way and connect {provider} on your account page."),
            ),
            Refused::OtherAddress => (
                "the invitation is for another address".to_owned(),
                forbidden,
                format!("This invitation is for another address than the one that {provider} has verified for you. It stays open. Sign in another way, or ask for an invitation to your address."),
            ),
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
                format!("This sign-in at {provider} belongs to an account here already."),
            ),
            Refused::NotProved => (
                "another identity, or no fresh proof of this one".to_owned(),
                forbidden,
                format!("{provider} did not confirm that it is you: someone else is signed in there, or it did not ask."),
            ),
            Refused::Problem(problem) => (problem.to_string(), problem.code.status(), problem.detail.clone()),
        }
    }
}
