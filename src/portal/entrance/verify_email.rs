//! Proving that an e-mail address is one's own, by the link in a mail.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::error::Error;
use crate::orgs::journal;
use crate::path;
use crate::people::address::{self, Proved};
use crate::people::links::{self, Link, Purpose};
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/entrance/verify_email.html")]
struct VerifyPage {
    layout: Layout,
    /// The token and the address, if the link counts.
    open: Option<(String, String)>,
    refused: Option<String>,
}

/// `GET /verify-email`. Programs that look into mails follow links, so this changes nothing.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let token = Fields::of_query(&request).get("token").to_owned();
    let (keyring, asked, now) = (site.mint.keyring.clone(), token.clone(), Time::now());
    let link: Option<Link> =
        site.db.read(move |conn| links::open(conn, &keyring, Purpose::Verify, &asked, now)).await?;
    let status = if link.is_some() { StatusCode::OK } else { StatusCode::FORBIDDEN };
    page(&request, status, link.map(|link| (token, link.email)), None)
}

/// `POST /verify-email`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), Time::now());
    let (keyring, source) = (site.mint.keyring.clone(), source(&request));
    let proved = site
        .db
        .write(move |tx| {
            let proved = address::prove(tx, &keyring, &token, &source, now)?;
            let (person, event) = match &proved {
                Some(Proved::Same(person)) => (person, Event::EmailVerified),
                Some(Proved::Changed(person)) => (person, Event::EmailChanged),
                None => return Ok(None),
            };
            journal::note(tx, &AccountHolder::just_proved(person.id, source.clone(), now), &event)?;
            Ok(proved)
        })
        .await;
    match proved {
        Ok(Some(_)) => {
            session::flash(&request.get_session(), "Your e-mail address is confirmed.");
            Ok(redirect(&request, &path::account()))
        }
        Ok(None) => page(&request, StatusCode::FORBIDDEN, None, None),
        Err(Error::Conflict(words)) => page(&request, StatusCode::CONFLICT, None, Some(words.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn page(
    request: &HttpRequest,
    status: StatusCode,
    open: Option<(String, String)>,
    refused: Option<String>,
) -> Result<HttpResponse, Problem> {
    let layout = Layout { person: None, ..Layout::of(request, Room::None) };
    html(status, &VerifyPage { layout, open, refused })
}
