//! Choosing a new password by a link in a mail: asking for the link, and using it.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use secrecy::SecretString;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::error::{Error, FieldError};
use crate::orgs::journal;
use crate::path;
use crate::people::password::NewPassword;
use crate::people::{password, reset, throttle};
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, address, session};

#[derive(Template)]
#[template(path = "portal/entrance/reset_password.html")]
struct ResetPage {
    layout: Layout,
    step: Step,
    complaints: Complaints,
}

/// How far someone has come.
enum Step {
    /// They ask for a link; the address as typed.
    Ask(String),
    /// They asked.
    Asked,
    /// They followed a link that counts; its token.
    Choose(String),
    /// They followed one that does not.
    Spent,
}

impl ResetPage {
    fn of(request: &HttpRequest, step: Step, complaints: Vec<FieldError>) -> ResetPage {
        let layout = Layout { person: None, ..Layout::of(request, Room::None) };
        ResetPage { layout, step, complaints: Complaints(complaints) }
    }

    fn title(&self) -> &'static str {
        match self.step {
            Step::Ask(_) => "Forgot your password?",
            Step::Asked => "Look at your mail",
            Step::Choose(_) => "Choose a new password",
            Step::Spent => "This link does not count any more",
        }
    }
}

/// `GET /reset-password`.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let query = Fields::of_query(&request);
    if !query.has("token") {
        let email = query.get("email").chars().take(300).collect();
        return html(StatusCode::OK, &ResetPage::of(&request, Step::Ask(email), Vec::new()));
    }
    let token = query.get("token").to_owned();
    let (keyring, asked, now) = (site.mint.keyring.clone(), token.clone(), Time::now());
    let person = site.db.read(move |conn| reset::of_token(conn, &keyring, &asked, now)).await?;
    match person {
        Some(_) => html(StatusCode::OK, &ResetPage::of(&request, Step::Choose(token), Vec::new())),
        None => html(StatusCode::FORBIDDEN, &ResetPage::of(&request, Step::Spent, Vec::new())),
    }
}

/// `POST /reset-password`: asks for a link, or uses one.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    if fields.has("token") { choose(request, site, fields).await } else { ask(request, site, fields).await }
}

async fn ask(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let email: String = fields.get("email").trim().chars().take(300).collect();
    if email.is_empty() {
        let wrong = vec![FieldError::new("email", "Enter your e-mail address.")];
        return html(StatusCode::UNPROCESSABLE_ENTITY, &ResetPage::of(&request, Step::Ask(email), wrong));
    }
    let client = address::client(&request).bucket(&email);
    let wait = reset::ask(&site.db, &site.mint.keyring, &email, &client, Time::now()).await?;
    if wait == 0 {
        return html(StatusCode::OK, &ResetPage::of(&request, Step::Asked, Vec::new()));
    }
    let wrong = vec![FieldError::new("email", throttle::words_of_wait(wait))];
    let page = ResetPage::of(&request, Step::Ask(email), wrong);
    let mut response = html(StatusCode::TOO_MANY_REQUESTS, &page)?;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    Ok(response)
}

async fn choose(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), Time::now());
    let (keyring, asked) = (site.mint.keyring.clone(), token.clone());
    let person = site.db.read(move |conn| reset::of_token(conn, &keyring, &asked, now)).await?;
    let Some(person) = person else {
        return html(StatusCode::FORBIDDEN, &ResetPage::of(&request, Step::Spent, Vec::new()));
    };
    let new: SecretString = fields.get("new_password").into();
    let new = match NewPassword::check("new_password", new, &[&person.email, &person.name]).await {
        Ok(new) => new,
        Err(Error::Invalid(wrong)) => {
            let page = ResetPage::of(&request, Step::Choose(token), wrong);
            return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
        }
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(new).await?;
    let (keyring, source) = (site.mint.keyring.clone(), source(&request));
    let client = address::client(&request).bucket(&person.email);
    let chosen = site
        .db
        .write(move |tx| {
            let chosen = reset::choose(tx, &keyring, &token, &hashed, &client, &source, now)?;
            if let Some(person) = &chosen {
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                journal::note(tx, &holder, &Event::PasswordReset)?;
            }
            Ok(chosen)
        })
        .await?;
    if chosen.is_none() {
        return html(StatusCode::FORBIDDEN, &ResetPage::of(&request, Step::Spent, Vec::new()));
    }
    session::flash(
        &request.get_session(),
        "Your password was changed. Sign in with it, then check your sign-in methods on your account page.",
    );
    Ok(redirect(&request, &path::sign_in()))
}
