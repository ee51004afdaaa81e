//! Signing in and out.

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header};
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Error;
use crate::orgs::account_log;
use crate::path::{self, Href};
use crate::people::sign_in::{self, Attempt, Outcome};
use crate::people::store::Person;
use crate::people::throttle;
use crate::portal::kit::visit::{AccountVisit, GuestVisit, Visit};
use crate::web::form::Fields;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::{address, session};

/// The message for a wrong password and for an unknown person.
const REFUSED: &str = "The e-mail address or the password is wrong. Check both and try again.";

#[derive(Template)]
#[template(path = "portal/entrance/sign_in.html")]
struct SignInPage {
    layout: Layout,
    fields: Fields,
    refused: Option<String>,
    providers: Vec<ProviderLink>,
}

/// `GET /sign-in`.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let fields = visit.query();
    if visit.signed_in.is_some() {
        return Ok(visit.redirect(Href::next(fields.get("next"))));
    }
    let layout = visit.layout(NavSection::None);
    let providers = providers::to_sign_in(&visit.site, &Href::next(fields.get("next")));
    visit.page(&SignInPage { layout, fields, refused: None, providers })
}

/// `POST /sign-in`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (attempt, source, now) = (attempt(&visit, &fields), visit.source(), visit.now);
    let welcome = move |tx: &mut Tx<'_>, person: &Person| {
        account_log::append(tx, &AccountHolder::just_proved(person.id, source.clone(), now), &Event::SignedIn)
    };
    let throttle = &visit.site.defaults.keyring.throttle;
    let waits = match sign_in::with_password(&visit.site.db, throttle, attempt, welcome, now).await? {
        Outcome::Welcome(person) => {
            session::sign_in(&visit.request, &person, now);
            return Ok(visit.redirect(Href::next(fields.get("next"))));
        }
        Outcome::Refused => None,
        Outcome::Wait(seconds) => Some(seconds),
    };
    let (status, refused) = match waits {
        Some(seconds) => (StatusCode::TOO_MANY_REQUESTS, throttle::wait_message(seconds)),
        None => (StatusCode::UNPROCESSABLE_ENTITY, REFUSED.to_owned()),
    };
    let layout = visit.bare_layout();
    let providers = providers::to_sign_in(&visit.site, &Href::next(fields.get("next")));
    let mut response =
        visit.page_with_status(status, &SignInPage { layout, fields, refused: Some(refused), providers })?;
    if let Some(seconds) = waits {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    Ok(response)
}

/// `POST /sign-out`.
pub async fn sign_out(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    match visit.account() {
        Some(visit) => end_session(&visit).await,
        None => Ok(signed_out(&visit)),
    }
}

/// Ends the session that sent the request.
pub async fn end_session(visit: &AccountVisit) -> Result<HttpResponse, Problem> {
    match visit.change(|tx, holder| account_log::append(tx, holder, &Event::SignedOut)).await {
        // The session has already been ended elsewhere.
        Ok(()) | Err(Error::SignedOut) => Ok(signed_out(visit)),
        Err(error) => Err(error.into()),
    }
}

fn signed_out<V>(visit: &Visit<V>) -> HttpResponse {
    session::sign_out(&visit.session());
    // Pages in the browser's cache must not outlive the session.
    let mut response = visit.redirect(path::sign_in());
    let clear = header::HeaderValue::from_static("\"cache\"");
    response.headers_mut().insert(header::HeaderName::from_static("clear-site-data"), clear);
    response
}

fn attempt(visit: &GuestVisit, fields: &Fields) -> Attempt {
    let zone = fields.get("zone");
    Attempt {
        email: fields.get("email").chars().take(300).collect(),
        password: fields.get("password").into(),
        client: address::client(&visit.request).bucket(fields.get("email")),
        zone: jiff::tz::TimeZone::get(zone).ok().map(|_| zone.to_owned()),
        session: None,
    }
}
