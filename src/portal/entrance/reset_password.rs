//! Resetting a forgotten password: requesting the link, and using it.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use askama::Template;
use secrecy::SecretString;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::error::{Error, FieldError};
use crate::orgs::account_log;
use crate::path;
use crate::people::password::NewPassword;
use crate::people::{password, reset, throttle};
use crate::portal::kit::visit::GuestVisit;
use crate::web::address;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::Layout;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/entrance/reset_password.html")]
struct ResetPage {
    layout: Layout,
    step: Step,
    form_errors: FormErrors,
}

enum Step {
    /// Requesting a link; the address as typed.
    Ask(String),
    /// The link was requested.
    Asked,
    /// A valid link was opened; its token.
    Choose(String),
    /// An invalid link was opened.
    Spent,
}

impl ResetPage {
    fn of(visit: &GuestVisit, step: Step, form_errors: Vec<FieldError>) -> ResetPage {
        let layout = visit.bare_layout();
        ResetPage { layout, step, form_errors: FormErrors(form_errors) }
    }

    fn title(&self) -> &'static str {
        match self.step {
            Step::Ask(_) => "Forgot your password?",
            Step::Asked => "Check your e-mail",
            Step::Choose(_) => "Choose a new password",
            Step::Spent => "This link has expired or has already been used",
        }
    }
}

/// `GET /reset-password`.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let query = visit.query();
    if !query.has("token") {
        let email = query.get("email").chars().take(300).collect();
        return visit.page(&ResetPage::of(&visit, Step::Ask(email), Vec::new()));
    }
    let token = query.get("token").to_owned();
    let (keyring, asked, now) = (visit.site.defaults.keyring.clone(), token.clone(), visit.now);
    let person = visit.read(move |conn| reset::find_by_token(conn, &keyring, &asked, now)).await?;
    match person {
        Some(_) => visit.page(&ResetPage::of(&visit, Step::Choose(token), Vec::new())),
        None => {
            visit.page_with_status(StatusCode::FORBIDDEN, &ResetPage::of(&visit, Step::Spent, Vec::new()))
        }
    }
}

/// `POST /reset-password`: requests a link, or uses one.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    if fields.has("token") { choose(visit, fields).await } else { ask(visit, fields).await }
}

async fn ask(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let email: String = fields.get("email").trim().chars().take(300).collect();
    if email.is_empty() {
        let wrong = vec![FieldError::new("email", "Enter your e-mail address.")];
        return visit.page_with_status(
            StatusCode::UNPROCESSABLE_ENTITY,
            &ResetPage::of(&visit, Step::Ask(email), wrong),
        );
    }
    let client = address::client(&visit.request).bucket(&email);
    let wait =
        reset::request(&visit.site.db, &visit.site.defaults.keyring, &email, &client, visit.now).await?;
    if wait == 0 {
        return visit.page(&ResetPage::of(&visit, Step::Asked, Vec::new()));
    }
    let wrong = vec![FieldError::new("email", throttle::wait_message(wait))];
    let page = ResetPage::of(&visit, Step::Ask(email), wrong);
    let mut response = visit.page_with_status(StatusCode::TOO_MANY_REQUESTS, &page)?;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    Ok(response)
}

async fn choose(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), visit.now);
    let (keyring, asked) = (visit.site.defaults.keyring.clone(), token.clone());
    let person = visit.read(move |conn| reset::find_by_token(conn, &keyring, &asked, now)).await?;
    let Some(person) = person else {
        return visit
            .page_with_status(StatusCode::FORBIDDEN, &ResetPage::of(&visit, Step::Spent, Vec::new()));
    };
    let new: SecretString = fields.get("new_password").into();
    let new = match NewPassword::check("new_password", new, &[&person.email, &person.name]).await {
        Ok(new) => new,
        Err(Error::Invalid(wrong)) => {
            let page = ResetPage::of(&visit, Step::Choose(token), wrong);
            return visit.page_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page);
        }
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(new).await?;
    let (keyring, source) = (visit.site.defaults.keyring.clone(), visit.source());
    let client = address::client(&visit.request).bucket(&person.email);
    let chosen = visit
        .site
        .db
        .write(move |tx| {
            let chosen = reset::complete(tx, &keyring, &token, &hashed, &client, &source, now)?;
            if let Some(person) = &chosen {
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                account_log::append(tx, &holder, &Event::PasswordReset)?;
            }
            Ok(chosen)
        })
        .await?;
    if chosen.is_none() {
        return visit
            .page_with_status(StatusCode::FORBIDDEN, &ResetPage::of(&visit, Step::Spent, Vec::new()));
    }
    visit.flash(
        "Your password was changed. Sign in with it, then check your sign-in methods on your account page.",
    );
    Ok(visit.redirect(path::sign_in()))
}
