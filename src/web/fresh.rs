//! Actions that require a fresh sign-in, so that a browser left open can't be misused.
//!
//! A page redirects to `/sign-in/again` and from there back. A form submitted too late is answered with a page
//! that asks for the password and carries the input, so nothing is lost: it is submitted to the same address,
//! and [`confirm`] takes the password out of it.

use actix_session::SessionExt;
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{StatusCode, Uri};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use askama::Template;

use crate::error::Error;
use crate::path::{self, Href, Pattern};
use crate::people;
use crate::people::oauth::Provider;
use crate::people::sign_in::{self, Attempt, Outcome};
use crate::people::throttle;
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::{Layout, NavSection, html};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::providers::ProviderLink;
use crate::web::{Site, address, session};

/// The field with the confirming password.
const FIELD: &str = "confirm_password";

/// The field with the page to which cancelling leads.
const BACK: &str = "confirm_back";

/// Asks a signed-in person to confirm their identity.
#[derive(Template)]
#[template(path = "portal/entrance/again.html")]
struct AgainPage {
    layout: Layout,
    email: String,
    /// The form's target.
    action: String,
    /// The page from which they came.
    cancel: Href,
    /// The input of the form that was submitted too late.
    carried: Vec<(String, String)>,
    has_password: bool,
    /// The providers with which the person can confirm instead.
    providers: Vec<ProviderLink>,
    /// Whether they open in a new tab beside this page, which holds the input.
    beside: bool,
    refused: Option<String>,
}

/// Whether the sender's sign-in is fresh.
pub fn is_fresh(request: &HttpRequest, now: Time) -> bool {
    session::principal(&request.get_session(), true).is_some_and(|person| person.is_fresh(now))
}

/// Whether a form contains the confirmation of its sender's identity.
pub fn is_confirmed(fields: &Fields) -> bool {
    fields.has(FIELD)
}

/// Accepts a form whose sender's sign-in is fresh, or is refreshed by the password in it. Otherwise returns the
/// page that asks for the password, with the input.
pub async fn confirm(
    request: &HttpRequest,
    site: &Site,
    fields: &Fields,
    now: Time,
) -> Result<Option<HttpResponse>, Problem> {
    if is_fresh(request, now) {
        return Ok(None);
    }
    if !fields.has(FIELD) {
        return page(request, site, fields, StatusCode::FORBIDDEN, None).await.map(Some);
    }
    if fields.get(FIELD).is_empty() {
        let refused = "Enter your password.".to_owned();
        return page(request, site, fields, StatusCode::UNPROCESSABLE_ENTITY, Some(refused)).await.map(Some);
    }
    let person = signed_in(request)?.person;
    let attempt = Attempt {
        client: address::client(request).bucket(&person.email),
        email: person.email,
        password: fields.get(FIELD).into(),
        zone: None,
        session: session::id(&request.get_session()),
    };
    let (status, refused, wait) =
        match sign_in::with_password(&site.db, &site.defaults.keyring.throttle, attempt, |_, _| Ok(()), now)
            .await?
        {
            Outcome::Welcome(proved) if proved.id == person.id => {
                session::prove(&request.get_session(), now);
                return Ok(None);
            }
            Outcome::Wait(seconds) => {
                (StatusCode::TOO_MANY_REQUESTS, throttle::wait_message(seconds), Some(seconds))
            }
            _ => {
                let refused = "The password is wrong. Check it and try again.".to_owned();
                (StatusCode::UNPROCESSABLE_ENTITY, refused, None)
            }
        };
    let mut response = page(request, site, fields, status, Some(refused)).await?;
    if let Some(seconds) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(Some(response))
}

/// The page that asks a person to confirm their identity. Its form is submitted to the address of `request` and
/// carries `fields`.
pub async fn page(
    request: &HttpRequest,
    site: &Site,
    fields: &Fields,
    status: StatusCode,
    refused: Option<String>,
) -> Result<HttpResponse, Problem> {
    let person = signed_in(request)?.person;
    let id = person.id;
    let methods = site.db.read(move |conn| people::methods::of_person(conn, id)).await?;
    let query = Fields::of_query(request);
    // A form stays on this page until it is confirmed; someone who was redirected here moves on.
    let beside = request.path() != Pattern::sign_in_again.as_str();
    let own = site.providers.all().filter(|provider| {
        let kind = provider.kind().name();
        methods.iter().any(|method| method.kind == kind && method.issuer == provider.issuer())
    });
    let next = if beside { path::sign_in_again() } else { Href::next(query.get("next")) };
    let link = |provider: Provider<'_>| {
        let start = path::sign_in_again_with(&provider.id().to_string());
        ProviderLink::new(provider, start.then(&next))
    };
    let view = AgainPage {
        layout: Layout::of(request, NavSection::None),
        email: person.email,
        action: request.uri().path_and_query().map(|path| path.to_string()).unwrap_or_default(),
        cancel: came_from(request, fields),
        carried: fields.pairs().filter(|(name, _)| is_carried(name)).cloned().collect(),
        has_password: methods.iter().any(|method| method.kind == people::credential::PASSWORD),
        providers: own.map(link).collect(),
        beside,
        refused,
    };
    html(status, &view)
}

fn signed_in(request: &HttpRequest) -> Result<SignedIn, Problem> {
    let signed_in = request.extensions().get::<SignedIn>().cloned();
    signed_in.ok_or_else(|| Error::internal("a fresh sign-in was requested without a session").into())
}

/// The page of this site that led to the request, or the account page.
fn came_from(request: &HttpRequest, fields: &Fields) -> Href {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let referer = header(header::REFERER).and_then(|text| text.parse::<Uri>().ok()).filter(|uri| {
        uri.authority().is_some_and(|site| header(header::HOST) == Some(site.as_str()))
            && !uri.path().starts_with(Pattern::sign_in_again.as_str())
    });
    match (fields.get(BACK), &referer) {
        ("", Some(uri)) => Href::next(uri.path()),
        ("", None) => path::account(),
        (known, _) => Href::next(known),
    }
}

/// Passwords are never sent back and have to be typed again. This page's own fields are not carried either.
fn is_carried(name: &str) -> bool {
    let own = ["confirm_username", "confirmed_elsewhere", BACK];
    !name.contains("password") && !name.contains("secret") && !own.contains(&name)
}
