//! Confirming an e-mail address by the link in an e-mail.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::error::Error;
use crate::orgs::account_log;
use crate::path;
use crate::people::address::{self, ConfirmedAddress};
use crate::people::links::{self, Link, Purpose};
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::Fields;
use crate::web::page::Layout;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/entrance/verify_email.html")]
struct VerifyPage {
    layout: Layout,
    /// The token and the address, if the link is valid.
    open: Option<(String, String)>,
    refused: Option<String>,
}

/// `GET /verify-email`. Mail scanners follow links, so this changes nothing.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let token = visit.query().get("token").to_owned();
    let (keyring, asked, now) = (visit.site.defaults.keyring.clone(), token.clone(), visit.now);
    let link: Option<Link> =
        visit.read(move |conn| links::open(conn, &keyring, Purpose::Verify, &asked, now)).await?;
    let status = if link.is_some() { StatusCode::OK } else { StatusCode::FORBIDDEN };
    page(&visit, status, link.map(|link| (token, link.email)), None)
}

/// `POST /verify-email`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), visit.now);
    let (keyring, source) = (visit.site.defaults.keyring.clone(), visit.source());
    let proved = visit
        .site
        .db
        .write(move |tx| {
            let proved = address::confirm(tx, &keyring, &token, &source, now)?;
            let (person, event) = match &proved {
                Some(ConfirmedAddress::Same(person)) => (person, Event::EmailVerified),
                Some(ConfirmedAddress::Changed(person)) => (person, Event::EmailChanged),
                None => return Ok(None),
            };
            account_log::append(tx, &AccountHolder::just_proved(person.id, source.clone(), now), &event)?;
            Ok(proved)
        })
        .await;
    match proved {
        Ok(Some(_)) => Ok(visit.redirect_with(path::account(), "Your e-mail address is confirmed.")),
        Ok(None) => page(&visit, StatusCode::FORBIDDEN, None, None),
        Err(Error::Conflict(words)) => page(&visit, StatusCode::CONFLICT, None, Some(words.to_owned())),
        Err(error) => Err(error.into()),
    }
}

fn page(
    visit: &GuestVisit,
    status: StatusCode,
    open: Option<(String, String)>,
    refused: Option<String>,
) -> Result<HttpResponse, Problem> {
    let layout = visit.bare_layout();
    visit.page_with_status(status, &VerifyPage { layout, open, refused })
}
