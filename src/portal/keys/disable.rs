//! The pages for setting a key aside and taking it up again.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::error::Error;
use crate::keys::lifecycle::{self, ADMINS_ONLY};
use crate::keys::manager::Deed;
use crate::path;
use crate::portal::keys::Rights;
use crate::portal::kit::disable::{DisablePage, Disabling, Effect};
use crate::portal::kit::words;
use crate::time::Time;
use crate::usage;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

/// `GET /o/{org}/keys/{id}/disable` and `…/enable`.
pub async fn confirm(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    if key.status(now).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    if !disabling && !Rights::of(&site, &member, &key).await?.enable {
        return Err(Error::Denied(ADMINS_ONLY).into());
    }
    let (org, id) = (member.org.id, key.id);
    let by_scope = site.db.read(move |conn| usage::recent::last_day_by_scope(conn, org, id, now)).await?;
    let requests = by_scope.iter().map(|(_, requests)| requests).sum();
    let lead = if disabling && member.role.manages_all_keys() {
        "This can be undone, by an admin only."
    } else if disabling {
        "This can be undone."
    } else {
        "Whoever holds the key can use it again at once."
    };
    let view = DisablePage {
        layout: Layout::of(&request, Room::Keys),
        page: path::key(&member.org.slug, &id),
        action: if disabling {
            path::key_disable(&member.org.slug, &id)
        } else {
            path::key_enable(&member.org.slug, &id)
        },
        name: key.name,
        noun: "key",
        disabling,
        lead: lead.to_owned(),
        effect: effect(requests),
    };
    html(StatusCode::OK, &view)
}

fn effect(requests: i64) -> Effect {
    let (heart, who) = if requests > 0 {
        let calls = words::count(requests, "request", "requests");
        (format!("It is in use: {calls} in the last 24 hours."), "These callers will")
    } else {
        ("No requests in the last 24 hours.".to_owned(), "Callers would")
    };
    Effect { busy: requests > 0, heart, rest: format!("{who} get 401 until it is enabled again.") }
}

/// `POST /o/{org}/keys/{id}/disable` and `…/enable`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    let (change, mint) = (member.change(&request, Time::now()), site.mint.clone());
    let key = change
        .commit(&site.db, move |tx, acting| lifecycle::set_disabled(tx, acting, &mint, key.id, disabling))
        .await?;
    let done = if disabling { "is disabled. It can be enabled again." } else { "is enabled." };
    session::flash(&request.get_session(), &format!("{} {done}", key.name));
    Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
}
