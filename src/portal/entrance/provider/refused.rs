//! The page about a sign-in through a provider that was refused.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header;
use askama::Template;

use crate::path::{self, Href};
use crate::people::oauth::Provider;
use crate::people::oauth::flow::Purpose;
use crate::portal::entrance::provider::advice;
use crate::portal::entrance::provider::reason::Refused;
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
    /// What the administrator can change.
    advice: Option<String>,
    /// The link to try again, with its label.
    again: (Href, &'static str),
    /// Whether the person needs a password, which they may not have.
    needs_password: bool,
    request: String,
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
    let (name, request) = (provider.id().to_string(), request_id(&visit.request).to_string());
    let claim = refused.claim();
    if matches!(refused, Refused::Lost) {
        // Anyone can open this address without having started a sign-in.
        tracing::debug!(provider = name, reason, request, "a sign-in was refused");
    } else {
        tracing::warn!(
            provider = name,
            issuer = provider.issuer(),
            claim,
            reason,
            request,
            "a sign-in was refused"
        );
    }
    let advice = claim.and_then(|claim| advice::for_claim(claim, &refused, provider));
    let (title, again) = match purpose {
        Purpose::SignIn => {
            ("You are not signed in".to_owned(), (path::sign_in().then(next), "Back to sign-in"))
        }
        Purpose::Connect(_) => {
            (format!("{} was not connected", provider.name()), (path::account(), "Back to your account"))
        }
        Purpose::Again(_) => {
            ("Your identity is not confirmed".to_owned(), (path::sign_in_again().then(next), "Try again"))
        }
    };
    let layout = visit.layout(NavSection::None);
    let needs_password = matches!(refused, Refused::OldSignIn | Refused::NoTimeOfSignIn);
    let page = RefusedPage { layout, title, words, advice, again, needs_password, request };
    let mut response = visit.page_with_status(status, &page)?;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    Ok(response)
}
