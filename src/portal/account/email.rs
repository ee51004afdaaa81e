//! Changing and confirming one's e-mail address.

use actix_web::HttpResponse;
use askama::Template;

use crate::audit::event::Event;
use crate::error::{Error, FieldError};
use crate::orgs::account_log;
use crate::path;
use crate::people::address;
use crate::people::store::Profile;
use crate::portal::kit::visit::AccountVisit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/account/email.html")]
struct EmailPage {
    layout: Layout,
    now: String,
    email: String,
    form_errors: FormErrors,
}

/// `GET /account/email`.
pub async fn form(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    page(&visit, String::new(), Vec::new())
}

/// `POST /account/email`: sends an e-mail to the new address, whose link makes the change.
pub async fn submit(visit: AccountVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (person, typed) = (visit.person.clone(), fields.get("email").trim().to_owned());
    let wrong = match Profile::parse(&person.name, &typed) {
        Err(errors) => errors.into_iter().find(|error| error.field == "email"),
        Ok(_) if person.has_address(&typed) => {
            Some(FieldError::new("email", "This is already your address."))
        }
        Ok(_) => None,
    };
    if let Some(wrong) = wrong {
        return page(&visit, typed, vec![wrong]);
    }
    let email = typed.clone();
    let asked = visit.change(move |tx, holder| {
        address::request_change(tx, &person, &email, &holder.source, holder.now)?;
        account_log::append(tx, holder, &Event::EmailChangeRequested)
    });
    match asked.await {
        Ok(()) => {
            let message = format!("An e-mail is on its way to {typed}. Use the link in it to finish.");
            Ok(visit.redirect_with(path::account(), message))
        }
        Err(Error::Conflict(words)) => page(&visit, typed, vec![FieldError::new("email", words)]),
        Err(error) => Err(error.into()),
    }
}

/// `POST /account/email/verify`: sends a confirmation e-mail to the current address.
pub async fn verify(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    let person = visit.person.clone();
    let message =
        format!("An e-mail is on its way to {}. Use the link in it to confirm the address.", person.email);
    visit.change(move |tx, holder| address::send_confirmation(tx, &person, holder.now)).await?;
    Ok(visit.redirect_with(path::account(), message))
}

/// `POST /account/email/cancel`: cancels the pending change.
pub async fn cancel(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    let person = visit.person.clone();
    let cancelled = visit
        .change(move |tx, holder| {
            let cancelled = address::cancel(tx, &person, &holder.source, holder.now)?;
            if cancelled {
                account_log::append(tx, holder, &Event::EmailChangeCancelled)?;
            }
            Ok(cancelled)
        })
        .await?;
    let message = match cancelled {
        true => {
            "The change was cancelled. If you did not request it, change your password and end your other sessions."
        }
        false => "There is no change to cancel.",
    };
    Ok(visit.redirect_with(path::account(), message))
}

fn page(visit: &AccountVisit, email: String, wrong: Vec<FieldError>) -> Result<HttpResponse, Problem> {
    let (layout, now) = (visit.layout(NavSection::Account), visit.person.email.clone());
    let view = EmailPage { layout, now, email, form_errors: FormErrors(wrong) };
    visit.form(&view.form_errors, &view)
}
