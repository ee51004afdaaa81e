//! Disabling and enabling a key.

use actix_web::HttpResponse;

use crate::error::Error;
use crate::keys::lifecycle::{self, ADMINS_ONLY};
use crate::keys::manager::KeyAction;
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::disable::{DisablePage, Disabling, Effect};
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::usage;
use crate::web::page::NavSection;
use crate::web::problem::Problem;

/// `GET /o/{org}/keys/{id}/disable` and `…/enable`.
pub async fn confirm(
    visit: Visit,
    requested: RequestedKey,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let found = visit.read(move |conn| {
        let key = requested.find_active_for(conn, KeyAction::Edit, now)?;
        if !disabling && !requested.rights(conn, &key)?.enable {
            return Err(Error::Denied(ADMINS_ONLY));
        }
        let by_scope = usage::recent::last_day_by_scope(conn, key.org, key.id, now)?;
        Ok((key, by_scope))
    });
    let (key, by_scope) = found.await?;
    let (org, id) = (&visit.org.slug, key.id);
    let requests = by_scope.iter().map(|(_, requests)| requests).sum();
    let lead = if disabling && visit.role.manages_all_keys() {
        "Only an admin can undo this."
    } else if disabling {
        "This can be undone."
    } else {
        "Anyone who has the key can use it again at once."
    };
    let view = DisablePage {
        layout: visit.layout(NavSection::Keys),
        page: path::key(org, &id),
        action: if disabling { path::key_disable(org, &id) } else { path::key_enable(org, &id) },
        name: key.name,
        noun: "key",
        disabling,
        lead: lead.to_owned(),
        effect: effect(requests),
    };
    visit.page(&view)
}

fn effect(requests: i64) -> Effect {
    let (heart, who) = if requests > 0 {
        let requests = format::count(requests, "request", "requests");
        (format!("This key is in use: {requests} in the last 24 hours."), "These clients will")
    } else {
        ("No requests in the last 24 hours.".to_owned(), "Clients would")
    };
    Effect { busy: requests > 0, heart, rest: format!("{who} get 401 until it is enabled again.") }
}

/// `POST /o/{org}/keys/{id}/disable` and `…/enable`.
pub async fn submit(
    visit: Visit,
    requested: RequestedKey,
    Disabling(disabling): Disabling,
) -> Result<HttpResponse, Problem> {
    let key = visit.read(move |conn| requested.find_for(conn, KeyAction::Edit)).await?;
    let defaults = visit.site.defaults.clone();
    let key = visit
        .change(move |tx, acting| lifecycle::set_disabled(tx, acting, &defaults, key.id, disabling))
        .await?;
    let done = if disabling { "is disabled. It can be enabled again." } else { "is enabled." };
    Ok(visit.redirect_with(path::key(&visit.org.slug, &key.id), format!("{} {done}", key.name)))
}
