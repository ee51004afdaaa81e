//! The pages for setting a key aside and taking it up again.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::keys::lifecycle;
use crate::portal::words;
use crate::time::Time;
use crate::usage;
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/keys/disable.html")]
struct DisablePage {
    layout: Layout,
    org: Place,
    id: String,
    name: String,
    disabling: bool,
    requests: i64,
}

/// `GET /o/{org}/keys/{id}/disable`.
pub async fn confirm_disable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    confirm(request, member, site, path, true).await
}

/// `POST /o/{org}/keys/{id}/disable`.
pub async fn disable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    set(request, member, site, path, true).await
}

/// `GET /o/{org}/keys/{id}/enable`.
pub async fn confirm_enable(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    confirm(request, member, site, path, false).await
}

/// `POST /o/{org}/keys/{id}/enable`.
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
    let key = super::find_managed(&site, &member, &path.1).await?;
    if key.status(now).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    let (org, id) = (member.org.id, key.id);
    let by_scope = site.db.read(move |conn| usage::report::last_day_by_scope(conn, org, id, now)).await?;
    let view = DisablePage {
        layout: Layout::of(&request, Room::Keys),
        org: Place { slug: member.org.slug.clone(), name: member.org.name.clone() },
        id: key.id.to_string(),
        name: key.name.clone(),
        disabling,
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
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
    let key = super::find_managed(&site, &member, &path.1).await?;
    let (context, manager, mint) =
        (member.context(&request, Time::now()), member.manager(), site.mint.clone());
    let key = site
        .db
        .write(move |tx| lifecycle::set_disabled(tx, &context, &manager, &mint, key.id, disabled))
        .await?;
    let done = if disabled { "is disabled. It can be enabled again." } else { "is enabled." };
    session::flash(&request.get_session(), &format!("{} {done}", key.name));
    Ok(redirect(&request, &format!("/o/{}/keys/{}", member.org.slug, key.id)))
}
