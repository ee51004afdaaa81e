//! The pages for setting a membership aside and taking it up again.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::error::Error;
use crate::keys::{feed, succession};
use crate::orgs::membership;
use crate::path;
use crate::portal::kit::disable::{DisablePage, Disabling, Effect};
use crate::portal::kit::words;
use crate::portal::members::find_managed;
use crate::time::{DAY, Time};
use crate::usage;
use crate::usage::sums::Keys;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

/// `GET /o/{org}/members/{id}/disable` and `…/enable`.
pub async fn confirm(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let found = find_managed(&site, &member, &path.1).await?;
    usage::flush_last_uses(&site.meter, &site.db, Keys::of(member.org.id), now).await?;
    let (org, id) = (member.org.id, found.person.id);
    let read = site.db.read(move |conn| {
        let keys = succession::estate(conn, org, id, now)?.keys;
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        let requests = usage::recent::requests_by_key(conn, org, &ids, now.plus(-DAY))?;
        Ok::<_, Error>((i64::try_from(ids.len()).unwrap_or(i64::MAX), requests.values().sum()))
    });
    let (keys, requests) = read.await?;
    let view = DisablePage {
        layout: Layout::of(&request, Room::Members),
        page: path::member(&member.org.slug, &id),
        action: if disabling {
            path::member_disable(&member.org.slug, &id)
        } else {
            path::member_enable(&member.org.slug, &id)
        },
        name: found.person.name,
        noun: "member",
        disabling,
        lead: lead(disabling, &member.org.name, keys),
        effect: effect(keys, requests),
    };
    html(StatusCode::OK, &view)
}

fn lead(disabling: bool, org: &str, keys: i64) -> String {
    match keys {
        _ if disabling => format!("In {org} alone. This can be undone."),
        0 => "They may do again what their role allows.".to_owned(),
        keys => format!("{} again at once.", words::count(keys, "living key works", "living keys work")),
    }
}

fn effect(keys: i64, requests: i64) -> Effect {
    let withdrawn = "Open invitations are withdrawn.";
    if keys == 0 {
        return Effect { busy: false, heart: "No living keys.".to_owned(), rest: withdrawn.to_owned() };
    }
    let calls = if requests > 0 {
        format!("after {}", words::count(requests, "request", "requests"))
    } else {
        "without requests".to_owned()
    };
    let stopped = words::count(keys, "living key does", "living keys do");
    Effect {
        busy: requests > 0,
        heart: format!("{stopped} nothing from the next request,"),
        rest: format!("{calls} in the last 24 hours. {withdrawn}"),
    }
}

/// `POST /o/{org}/members/{id}/disable` and `…/enable`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let found = find_managed(&site, &member, &path.1).await?;
    let (change, who) = (member.change(&request, Time::now()), found.person.id);
    change
        .commit(&site.db, move |tx, acting| {
            let affected = membership::set_disabled(tx, acting, who, disabling)?;
            feed::publish_keys_of(tx, &affected, acting.now)
        })
        .await?;
    let done = if disabling { "is disabled here. They can be enabled again." } else { "is enabled." };
    session::flash(&request.get_session(), &format!("{} {done}", found.person.name));
    Ok(redirect(&request, &path::member(&member.org.slug, &who)))
}
