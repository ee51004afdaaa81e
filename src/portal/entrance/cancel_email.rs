//! Cancelling a change of e-mail address by the link in its notice, without a sign-in.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::audit::event::Event;
use crate::authority::AccountHolder;
use crate::email;
use crate::orgs::account_log;
use crate::path;
use crate::people::address;
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::Fields;
use crate::web::page::Layout;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/entrance/cancel_email.html")]
struct CancelPage {
    layout: Layout,
    state: State,
}

/// The state of the link.
enum State {
    /// It can cancel a pending change.
    Open { token: String, new: String, old: String },
    /// It was just used; the account keeps this address.
    Cancelled(String),
    /// There is nothing to cancel.
    Spent,
}

/// `GET /cancel-email-change`. Mail scanners follow links, so this changes nothing.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let token = visit.query().get("token").to_owned();
    let (keyring, asked, now) = (visit.site.defaults.keyring.clone(), token.clone(), visit.now);
    let open = visit.read(move |conn| address::find_by_cancel_token(conn, &keyring, &asked, now)).await?;
    let state = open.map_or(State::Spent, |(person, new)| State::Open {
        token,
        new: email::shown(&new),
        old: email::shown(&person.email),
    });
    page(&visit, state)
}

/// `POST /cancel-email-change`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, now) = (fields.get("token").to_owned(), visit.now);
    let (keyring, source) = (visit.site.defaults.keyring.clone(), visit.source());
    let cancelled = visit
        .site
        .db
        .write(move |tx| {
            let cancelled = address::cancel_by_token(tx, &keyring, &token, &source, now)?;
            if let Some(person) = &cancelled {
                let holder = AccountHolder::just_proved(person.id, source.clone(), now);
                account_log::append(tx, &holder, &Event::EmailChangeCancelled)?;
            }
            Ok(cancelled)
        })
        .await?;
    page(&visit, cancelled.map_or(State::Spent, |person| State::Cancelled(person.email)))
}

fn page(visit: &GuestVisit, state: State) -> Result<HttpResponse, Problem> {
    let layout = visit.bare_layout();
    let view = CancelPage { layout, state };
    visit.page_with_status(if view.is_spent() { StatusCode::FORBIDDEN } else { StatusCode::OK }, &view)
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
