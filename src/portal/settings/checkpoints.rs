//! Where an organisation has its checkpoints mailed: an address that nobody here can change.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::audit::checkpoint::Signer;
use crate::error::{Error, FieldError};
use crate::orgs::checkpoint_mail::{self, Hand, Outside};
use crate::path;
use crate::portal::kit::words::{self, When};
use crate::portal::settings::Tabs;
use crate::role::Act;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/settings/checkpoints.html")]
struct CheckpointsPage {
    layout: Layout,
    org: Place,
    tabs: Tabs,
    /// The confirmed address and since when.
    address: Option<(String, When)>,
    /// The address that was asked, and until when it may agree.
    asked: Option<(String, String)>,
    /// When the last mail left, and about how many entries.
    sent: Option<(When, String)>,
    /// What stands in the field.
    email: String,
    complaints: Complaints,
    zone: String,
}

/// `GET /o/{org}/settings/checkpoints`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    page(&request, &member, &site, String::new(), Vec::new()).await
}

/// `POST /o/{org}/settings/checkpoints`: asks the reader of an address.
pub async fn ask(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let change = member.change(&request, Time::now());
    let typed = fields.get("email").trim().to_owned();
    let email = typed.clone();
    match change.commit(&site.db, move |tx, acting| checkpoint_mail::ask(tx, acting, &email)).await {
        Ok(()) => {
            let told = format!("{typed} was asked. Checkpoints go there once its reader has confirmed it.");
            session::flash(&request.get_session(), &told);
            Ok(redirect(&request, &path::settings_checkpoints(&member.org.slug)))
        }
        Err(Error::Invalid(errors)) => page(&request, &member, &site, typed, errors).await,
        Err(Error::Conflict(words)) => {
            page(&request, &member, &site, typed, vec![FieldError::new("email", words)]).await
        }
        Err(other) => Err(other.into()),
    }
}

/// `POST /o/{org}/settings/checkpoints/end`.
pub async fn end(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let change = member.change(&request, Time::now());
    let (host, signers) = (site.public_url.host().to_owned(), Signer::all(&site.mint.keyring)?);
    let end = change.commit(&site.db, move |tx, acting| {
        checkpoint_mail::end(tx, acting, Hand { host: &host, signers: &signers })
    });
    if end.await? {
        session::flash(&request.get_session(), "Checkpoints are not mailed any more.");
    }
    Ok(redirect(&request, &path::settings_checkpoints(&member.org.slug)))
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    email: String,
    wrong: Vec<FieldError>,
) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (member.org.id, Time::now(), member.person.time_zone());
    let outside: Outside = site.db.read(move |conn| checkpoint_mail::find(conn, org)).await?;
    let past = |at: Time| When::past(at, now, &zone);
    let status = if wrong.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let open = outside.asked_until.filter(|until| *until > now);
    let view = CheckpointsPage {
        layout: Layout::of(request, Room::Settings).with_flash(request),
        org: Place::of(&member.org),
        tabs: Tabs::load(site, member, "checkpoints").await?,
        sent: outside
            .sent_at
            .filter(|_| outside.address.is_some())
            .map(|at| (past(at), words::number(outside.sent_size))),
        address: outside.address.zip(outside.since.map(past)),
        asked: outside.asked_address.zip(open.map(|until| words::date(until, &zone))),
        email,
        complaints: Complaints(wrong),
        zone: member.person.zone_name(),
    };
    html(status, &view)
}
