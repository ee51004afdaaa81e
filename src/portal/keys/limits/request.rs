//! Asking for a higher limit of a key, and taking that back.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::Key;
use crate::keys::limit_request::{self, Ask, rows};
use crate::keys::manager::Deed;
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::{find, find_for};
use crate::portal::kit::words;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/keys/limits/request.html")]
struct AskPage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    now: String,
    largest: String,
    /// What stands in the fields.
    limit: String,
    reason: String,
    complaints: Complaints,
}

/// `GET /o/{org}/keys/{id}/limit`.
pub async fn form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let key = find_for(Deed::Edit, &site, &member, &path.1).await?;
    if key.status(Time::now()).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    let (org, id) = (member.org.id, key.id);
    if site.db.read(move |conn| rows::open(conn, org, id)).await?.is_some() {
        // The key's page shows it, and lets it be taken back.
        return Ok(redirect(&request, &path::key(&member.org.slug, &key.id)));
    }
    page(&request, &member, &site, &key, ["", ""], Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/keys/{id}/limit`: asks.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let key = find_for(Deed::Edit, &site, &member, &path.1).await?;
    let (limit, reason) = (fields.get("limit"), fields.get("reason"));
    let (change, mint, id) = (member.change(&request, Time::now()), site.mint.clone(), key.id);
    let asked = match Ask::parse(limit, reason) {
        Ok(ask) => {
            change.commit(&site.db, move |tx, acting| limit_request::ask(tx, acting, &mint, id, &ask)).await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match asked {
        Ok(()) => {
            session::flash(&request.get_session(), "Your admins were asked. The answer comes by mail.");
            Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
        }
        Err(Error::Invalid(errors)) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            page(&request, &member, &site, &key, [limit, reason], Complaints(errors), status).await
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{org}/keys/{id}/limit/withdraw`: takes the request back.
pub async fn withdraw(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let key = find(&site, &member, &path.1).await?;
    let (change, id) = (member.change(&request, Time::now()), key.id);
    change.commit(&site.db, move |tx, acting| limit_request::withdraw(tx, acting, id)).await?;
    session::flash(&request.get_session(), "Your request was taken back.");
    Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    [limit, reason]: [&str; 2],
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let org = member.org.id;
    let policy = site.db.read(move |conn| policy::store::find(conn, org)).await?;
    let view = AskPage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        now: words::number(key.requests_per_minute.into()),
        largest: words::number(policy.rules.largest_rpm.into()),
        limit: limit.to_owned(),
        reason: reason.to_owned(),
        complaints,
    };
    html(status, &view)
}
