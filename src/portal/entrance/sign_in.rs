//! Signing in and out.

use actix_session::SessionExt;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Error;
use crate::orgs::journal;
use crate::path::{self, Href};
use crate::people::sign_in::{self, Attempt, Outcome};
use crate::people::store::Person;
use crate::people::throttle;
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::request::source;
use crate::web::{Shared, address, session};

/// The same for a wrong password and an unknown person.
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
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let fields = Fields::of_query(&request);
    if request.extensions().get::<SignedIn>().is_some() {
        return Ok(redirect(&request, &Href::next(fields.get("next"))));
    }
    let layout = Layout::of(&request, Room::None).with_flash(&request);
    let providers = providers::to_sign_in(&site, &Href::next(fields.get("next")));
    html(StatusCode::OK, &SignInPage { layout, fields, refused: None, providers })
}

/// `POST /sign-in`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let (attempt, source, now) = (attempt(&request, &fields), source(&request), Time::now());
    let welcome = move |tx: &mut Tx<'_>, person: &Person| {
        journal::note(tx, &AccountHolder::just_proved(person.id, source.clone(), now), &Event::SignedIn)
    };
    let throttle = &site.mint.keyring.throttle;
    let waits = match sign_in::with_password(&site.db, throttle, attempt, welcome, now).await? {
        Outcome::Welcome(person) => {
            session::sign_in(&request, &person, now);
            return Ok(redirect(&request, &Href::next(fields.get("next"))));
        }
        Outcome::Refused => None,
        Outcome::Wait(seconds) => Some(seconds),
    };
    let (status, refused) = match waits {
        Some(seconds) => (StatusCode::TOO_MANY_REQUESTS, throttle::words_of_wait(seconds)),
        None => (StatusCode::UNPROCESSABLE_ENTITY, REFUSED.to_owned()),
    };
    let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
    let providers = providers::to_sign_in(&site, &Href::next(fields.get("next")));
    let mut response = html(status, &SignInPage { layout, fields, refused: Some(refused), providers })?;
    if let Some(seconds) = waits {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    Ok(response)
}

/// `POST /sign-out`.
pub async fn sign_out(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let signed_in = request.extensions().get::<SignedIn>().cloned();
    if let Some(signed_in) = signed_in {
        let change = signed_in.change(&request, Time::now());
        let noted = change.commit(&site.db, |tx, holder| journal::note(tx, holder, &Event::SignedOut));
        match noted.await {
            // Somebody else has ended the session already.
            Ok(()) | Err(Error::SignedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    session::sign_out(&request.get_session());
    // What the browser keeps of pages must not outlive the session.
    let mut response = redirect(&request, &path::sign_in());
    let clear = header::HeaderValue::from_static("\"cache\"");
    response.headers_mut().insert(header::HeaderName::from_static("clear-site-data"), clear);
    Ok(response)
}

fn attempt(request: &HttpRequest, fields: &Fields) -> Attempt {
    let zone = fields.get("zone");
    Attempt {
        email: fields.get("email").chars().take(300).collect(),
        password: fields.get("password").into(),
        client: address::client(request).bucket(fields.get("email")),
        zone: jiff::tz::TimeZone::get(zone).ok().map(|_| zone.to_owned()),
        session: None,
    }
}
