//! Disabling and enabling a member.

use actix_web::HttpResponse;

use crate::keys::{feed, offboarding};
use crate::orgs::membership;
use crate::path;
use crate::portal::kit::disable::{DisablePage, Disabling, Effect};
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::portal::members::RequestedMember;
use crate::time::DAY;
use crate::usage;
use crate::web::page::NavSection;
use crate::web::problem::Problem;

/// `GET /o/{org}/members/{id}/disable` and `…/enable`.
pub async fn confirm(
    visit: Visit,
    requested: RequestedMember,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    visit.site.meter.wait_until_written().await;
    let read = visit.read(move |conn| {
        let found = requested.find_managed(conn)?;
        let keys = offboarding::owned_by(conn, requested.org, requested.id, now)?.keys;
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        let requests = usage::recent::requests_by_key(conn, requested.org, &ids, now.plus(-DAY))?;
        Ok((found, i64::try_from(ids.len()).unwrap_or(i64::MAX), requests.values().sum()))
    });
    let (found, keys, requests) = read.await?;
    let id = found.person.id;
    let view = DisablePage {
        layout: visit.layout(NavSection::Members),
        page: path::member(&visit.org.slug, &id),
        action: if disabling {
            path::member_disable(&visit.org.slug, &id)
        } else {
            path::member_enable(&visit.org.slug, &id)
        },
        name: found.person.name,
        noun: "member",
        disabling,
        lead: lead(disabling, &visit.org.name, keys),
        effect: effect(keys, requests),
    };
    visit.page(&view)
}

fn lead(disabling: bool, org: &str, keys: i64) -> String {
    match keys {
        _ if disabling => format!("This affects only {org} and can be undone."),
        0 => "They can act in their role again at once.".to_owned(),
        keys => format!("{} again at once.", format::count(keys, "key works", "keys work")),
    }
}

fn effect(keys: i64, requests: i64) -> Effect {
    let withdrawn = "Open invitations are withdrawn.";
    if keys == 0 {
        return Effect { busy: false, heart: "No keys are affected.".to_owned(), rest: withdrawn.to_owned() };
    }
    let made =
        if requests > 0 { format::count(requests, "request", "requests") } else { "no requests".to_owned() };
    let stopped = format::count(keys, "key stops", "keys stop");
    Effect {
        busy: requests > 0,
        heart: format!("{stopped} working at once."),
        rest: format!(
            "{} made {made} in the last 24 hours. {withdrawn}",
            if keys == 1 { "It" } else { "They" }
        ),
    }
}

/// `POST /o/{org}/members/{id}/disable` and `…/enable`.
pub async fn submit(
    visit: Visit,
    requested: RequestedMember,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let found = visit.read(move |conn| requested.find_managed(conn)).await?;
    let who = found.person.id;
    visit
        .change(move |tx, acting| {
            let affected = membership::set_disabled(tx, acting, who, disabling)?;
            feed::publish_keys_of(tx, &affected, acting.now)
        })
        .await?;
    let done =
        if disabling { "is disabled in this organisation, and can be enabled again." } else { "is enabled." };
    Ok(visit.redirect_with(path::member(&visit.org.slug, &who), format!("{} {done}", found.person.name)))
}
