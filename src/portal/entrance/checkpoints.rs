//! Agreeing to receive the checkpoints of an audit log, by the link in an e-mail. The recipient needs
//! no account.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::orgs::checkpoint_mail::{self, SigningContext};
use crate::path;
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::Fields;
use crate::web::page::Layout;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/entrance/checkpoints.html")]
struct CheckpointsPage {
    layout: Layout,
    state: State,
}

/// The state of the link.
enum State {
    Open {
        token: String,
        org: String,
        email: String,
    },
    /// It was just used, for the organisation with this name.
    Done(String),
    /// It is not valid.
    Spent,
}

/// `GET /checkpoints`. Mail scanners follow links, so this changes nothing.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let token = visit.query().get("token").to_owned();
    let (keyring, asked, now) = (visit.site.defaults.keyring.clone(), token.clone(), visit.now);
    let open = visit.read(move |conn| checkpoint_mail::open(conn, &keyring, &asked, now)).await?;
    page(&visit, open.map_or(State::Spent, |(org, email)| State::Open { token, org: org.name, email }))
}

/// `POST /checkpoints`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (token, source, now) = (fields.get("token").to_owned(), visit.source(), visit.now);
    let keyring = visit.site.defaults.keyring.clone();
    let (host, signers) = (visit.site.public_url.host().to_owned(), Signer::all(&keyring)?);
    let confirmed = visit.site.db.write(move |tx| {
        let hand = SigningContext { host: &host, signers: &signers };
        checkpoint_mail::confirm(tx, &keyring, hand, &token, &source, now)
    });
    let state = confirmed.await?.map_or(State::Spent, |org| State::Done(org.name));
    page(&visit, state)
}

fn page(visit: &GuestVisit, state: State) -> Result<HttpResponse, Problem> {
    let layout = visit.bare_layout();
    let view = CheckpointsPage { layout, state };
    visit.page_with_status(if view.is_spent() { StatusCode::FORBIDDEN } else { StatusCode::OK }, &view)
}

impl CheckpointsPage {
    fn is_spent(&self) -> bool {
        matches!(self.state, State::Spent)
    }
}
