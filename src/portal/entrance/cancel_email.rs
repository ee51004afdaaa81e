//! Cancelling a change of one's e-mail address by the link in its notice, without being signed in.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::email;
use crate::orgs::journal;
use crate::path;
use crate::people::address;
use crate::time::Time;
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html};
use crate::web::problem::Problem;
use crate::web::request::source;

#[derive(Template)]
#[template(path = "portal/entrance/cancel_email.html")]
struct CancelPage {
    layout: Layout,
    state: State,
}

/// What became of the link.
enum State {
    /// It cancels a pending change.
    Open {
        /// What proves that.
        token: String,
        /// The address that the account would get.
        new: String,
        /// The address that it has.
        old: String,
    },
    /// It was used just now; the account keeps this address.
    Cancelled(String),
    /// There is nothing to cancel.
    Spent,
}

/// `GET /cancel-email-change`. Programs that look into mails follow links, so this changes nothing.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let token = Fields::of_query(&request).get("token").to_owned();
    let (keyring, asked, now) = (site.mint.keyring.clone(), token.clone(), Time::now());
    let open = site.db.read(move |conn| address::of_cancel_token(conn, &keyring, &asked, now)).await?;
    let state = open.map_or(State::Spent, |(person, new)| State::Open {
        token,
        new: email::shown(&new),
        old: email::shown(&person.email),
    });
    page(&request, state)
}

/// `POST /cancel-email-change`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), Time::now());
    let (keyring, source) = (site.mint.keyring.clone(), source(&request));
    let cancelled = site
        .db
        .write(move |tx| {
            let cancelled = address::cancel_by_token(tx, &keyring, &token, &source, now)?;
            if let Some(person) = &cancelled {
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                journal::note(tx, &holder, &Event::EmailChangeCancelled)?;
            }
            Ok(cancelled)
        })
        .await?;
    page(&request, cancelled.map_or(State::Spent, |person| State::Cancelled(person.email)))
}

fn page(request: &HttpRequest, state: State) -> Result<HttpResponse, Problem> {
    let layout = Layout { person: None, org: None, ..Layout::of(request, Room::None) };
    let view = CancelPage { layout, state };
    html(if view.is_spent() { StatusCode::FORBIDDEN } else { StatusCode::OK }, &view)
}

impl CancelPage {
    fn is_spent(&self) -> bool {
        matches!(self.state, State::Spent)
    }

    fn title(&self) -> &'static str {
        match self.state {
            State::Open { .. } => "Cancel the change of your e-mail address?",
            State::Cancelled(_) => "The change was cancelled",
            State::Spent => "There is no change to cancel",
        }
    }
}
