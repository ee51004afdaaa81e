//! The pages for setting a membership aside and taking it up again.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::keys::{feed, succession};
use crate::orgs::membership;
use crate::portal::members::{find_managed, place};
use crate::portal::words;
use crate::time::{DAY, Time};
use crate::usage;
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/members/disable.html")]
struct DisablePage {
    layout: Layout,
    org: Place,
    id: String,
    name: String,
    disabling: bool,
    keys: i64,
    requests: i64,
}

/// `GET /o/{org}/members/{id}/disable`.
pub async fn confirm_disable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    confirm(request, member, site, path, true).await
}

/// `POST /o/{org}/members/{id}/disable`.
pub async fn disable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    set(request, member, site, path, true).await
}

/// `GET /o/{org}/members/{id}/enable`.
pub async fn confirm_enable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    confirm(request, member, site, path, false).await
}

/// `POST /o/{org}/members/{id}/enable`.
pub async fn enable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    set(request, member, site, path, false).await
}

async fn confirm(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    disabling: bool,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let found = find_managed(&site, &member, &path.1).await?;
    usage::flush(&site.meter, &site.db, now).await?;
    let (org, id) = (member.org.id, found.person.id);
    let read = site.db.read(move |conn| {
        let keys = succession::estate(conn, org, id, now)?.keys;
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        let requests = usage::report::requests_by_key(conn, org, &ids, now.plus(-DAY))?;
        Ok::<_, Error>((ids.len(), requests.values().sum()))
    });
    let (keys, requests) = read.await?;
    let view = DisablePage {
        layout: Layout::of(&request, Room::Members),
        org: place(&member),
        id: id.to_string(),
        name: found.person.name,
        disabling,
        keys: i64::try_from(keys).unwrap_or(i64::MAX),
        requests,
    };
    html(StatusCode::OK, &view)
}

async fn set(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    disabled: bool,
) -> Result<HttpResponse, Problem> {
    let found = find_managed(&site, &member, &path.1).await?;
    let (context, who) = (member.context(&request, Time::now()), found.person.id);
    let change = move |tx: &mut crate::db::Tx<'_>| {
        let affected = membership::set_disabled(tx, &context, who, disabled)?;
        feed::publish_keys_of(tx, &affected, context.now)
    };
    site.db.write(change).await?;
    let done = if disabled { "is disabled here. They can be enabled again." } else { "is enabled." };
    session::flash(&request.get_session(), &format!("{} {done}", found.person.name));
    Ok(redirect(&request, &format!("/o/{}/members/{who}", member.org.slug)))
}
