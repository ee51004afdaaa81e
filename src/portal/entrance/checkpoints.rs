//! Agreeing to get the checkpoints of an audit log, by the link in a mail. Whoever reads the
//! address need not be known here.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::orgs::checkpoint_mail::{self, Hand};
use crate::path;
use crate::time::Time;
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::page::{Layout, Room, html};
use crate::web::problem::Problem;
use crate::web::request::source;

#[derive(Template)]
#[template(path = "portal/entrance/checkpoints.html")]
struct CheckpointsPage {
    layout: Layout,
    state: State,
}

/// What became of the link.
enum State {
    /// It can be used.
    Open {
        /// What proves that.
        token: String,
        /// The organisation's name.
        org: String,
        /// The address.
        email: String,
    },
    /// It was used just now, for the organisation of this name.
    Done(String),
    /// It does not count.
    Spent,
}

/// `GET /checkpoints`. Programs that look into mails follow links, so this changes nothing.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let token = Fields::of_query(&request).get("token").to_owned();
    let (keyring, asked, now) = (site.mint.keyring.clone(), token.clone(), Time::now());
    let open = site.db.read(move |conn| checkpoint_mail::open(conn, &keyring, &asked, now)).await?;
    page(&request, open.map_or(State::Spent, |(org, email)| State::Open { token, org: org.name, email }))
}

/// `POST /checkpoints`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, source, now) = (fields.get("token").to_owned(), source(&request), Time::now());
    let keyring = site.mint.keyring.clone();
    let (host, signers) = (site.public_url.host().to_owned(), Signer::all(&keyring)?);
    let confirmed = site.db.write(move |tx| {
        let hand = Hand { host: &host, signers: &signers };
        checkpoint_mail::confirm(tx, &keyring, hand, &token, &source, now)
    });
    let state = confirmed.await?.map_or(State::Spent, |org| State::Done(org.name));
    page(&request, state)
}

fn page(request: &HttpRequest, state: State) -> Result<HttpResponse, Problem> {
    let layout = Layout { person: None, org: None, ..Layout::of(request, Room::None) };
    let view = CheckpointsPage { layout, state };
    html(if view.is_spent() { StatusCode::FORBIDDEN } else { StatusCode::OK }, &view)
}

impl CheckpointsPage {
    fn is_spent(&self) -> bool {
        matches!(self.state, State::Spent)
    }
}
