//! Changing one's e-mail address, and asking for a mail that proves it.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::event::Event;
use crate::error::{Error, FieldError};
use crate::orgs::journal;
use crate::path;
use crate::people::address;
use crate::people::store::Profile;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/account/email.html")]
struct EmailPage {
    layout: Layout,
    now: String,
    email: String,
    complaints: Complaints,
}

/// `GET /account/email`.
pub async fn form(request: HttpRequest, signed_in: SignedIn) -> Result<HttpResponse, Problem> {
    page(&request, &signed_in, String::new(), Vec::new())
}

/// `POST /account/email`: sends a mail to the new address. Nothing changes before its link is used.
pub async fn submit(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (person, typed) = (signed_in.person.clone(), fields.get("email").trim().to_owned());
    let wrong = match Profile::parse(&person.name, &typed) {
        Err(errors) => errors.into_iter().find(|error| error.field == "email"),
        Ok(_) if person.has_address(&typed) => {
            Some(FieldError::new("email", "This is your address already."))
        }
        Ok(_) => None,
    };
    if let Some(wrong) = wrong {
        return page(&request, &signed_in, typed, vec![wrong]);
    }
    let (email, change) = (typed.clone(), signed_in.change(&request, Time::now()));
    let asked = change.commit(&site.db, move |tx, holder| {
        address::ask_change(tx, &person, &email, &holder.source, holder.now)?;
        journal::note(tx, holder, &Event::EmailChangeRequested)
    });
    match asked.await {
        Ok(()) => {
            let told = format!("An e-mail is on its way to {typed}. Use the link in it to finish.");
            session::flash(&request.get_session(), &told);
            Ok(redirect(&request, &path::account()))
        }
        Err(Error::Conflict(words)) => {
            page(&request, &signed_in, typed, vec![FieldError::new("email", words)])
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/email/verify`: sends a mail to the address that the person has.
pub async fn verify(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
) -> Result<HttpResponse, Problem> {
    let (change, person) = (signed_in.change(&request, Time::now()), signed_in.person);
    let told =
        format!("A mail is on its way to {}. Use the link in it to confirm the address.", person.email);
    change.commit(&site.db, move |tx, holder| address::ask(tx, &person, holder.now)).await?;
    session::flash(&request.get_session(), &told);
    Ok(redirect(&request, &path::account()))
}

/// `POST /account/email/cancel`: stops the pending change.
pub async fn cancel(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
) -> Result<HttpResponse, Problem> {
    let (change, person) = (signed_in.change(&request, Time::now()), signed_in.person);
    let cancelled = change
        .commit(&site.db, move |tx, holder| {
            let cancelled = address::cancel(tx, &person, &holder.source, holder.now)?;
            if cancelled {
                journal::note(tx, holder, &Event::EmailChangeCancelled)?;
            }
            Ok(cancelled)
        })
        .await?;
    let told = match cancelled {
        true => {
            "The change was cancelled. If you did not request it, change your password and end your other sessions."
        }
        false => "There is no change to cancel.",
    };
    session::flash(&request.get_session(), told);
    Ok(redirect(&request, &path::account()))
}

fn page(
    request: &HttpRequest,
    signed_in: &SignedIn,
    email: String,
    wrong: Vec<FieldError>,
) -> Result<HttpResponse, Problem> {
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let (layout, now) = (Layout::of(request, Room::Account), signed_in.person.email.clone());
    html(status, &EmailPage { layout, now, email, complaints: Complaints(wrong) })
}
