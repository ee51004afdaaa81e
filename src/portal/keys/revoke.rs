//! The page and the dialog for revoking a key, with what it would stop.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::FieldError;
use crate::id::KeyId;
use crate::keys::draft::check_reason;
use crate::keys::manager::Deed;
use crate::keys::{Key, lifecycle};
use crate::path;
use crate::portal::keys::Rights;
use crate::portal::keys::show::{CallerRow, scope_name};
use crate::portal::kit::words::{self, When};
use crate::time::{DAY, Time};
use crate::usage;
use crate::usage::sums::Keys;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;
use crate::web::{Shared, session};

const CALLERS: usize = 5;

#[derive(Template)]
#[template(path = "portal/keys/revoke.html", blocks = ["act"])]
struct RevokePage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    /// Whether it stands in the dialog, so that answers go there too.
    in_dialog: bool,
    requests: i64,
    by_scope: String,
    last_used: Option<When>,
    callers: Vec<CallerRow>,
    /// Whether the name must be typed: the key was used in the last 24 hours.
    in_use: bool,
    /// Whether the reader can rotate it instead.
    can_rotate: bool,
    /// Whether the reader can disable it instead.
    can_disable: bool,
    reason: String,
    typed: String,
    complaints: Complaints,
}

/// The key, with a use of just now as its last.
async fn find(site: &Shared, member: &Member, id: &str, now: Time) -> Result<Key, Problem> {
    if let Some(id) = KeyId::parse(id) {
        usage::flush_last_uses(&site.meter, &site.db, Keys::only(id), now).await?;
    }
    super::find_for(Deed::Revoke, site, member, id).await
}

/// `GET /o/{org}/keys/{id}/revoke`.
pub async fn confirm(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = find(&site, &member, &path.1, Time::now()).await?;
    if key.revoked.is_some() {
        return Ok(redirect(&request, &path::key(&member.org.slug, &key.id)));
    }
    page(&request, &member, &site, &key, &Fields::default(), Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/keys/{id}/revoke`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = find(&site, &member, &path.1, now).await?;
    let mut errors = Vec::new();
    let reason = check_reason(fields.get("reason")).map_err(|error| errors.push(error)).unwrap_or_default();
    let typed = crate::text::fold(fields.get("confirm").trim());
    if was_used_lately(&key, now) && typed != crate::text::fold(&key.name) {
        errors.push(FieldError::new(
            "confirm",
            format!("Type {} to confirm that its callers may be cut off.", key.name),
        ));
    }
    if !errors.is_empty() {
        let complaints = Complaints(errors);
        return page(&request, &member, &site, &key, &fields, complaints, StatusCode::UNPROCESSABLE_ENTITY)
            .await;
    }
    let (change, id) = (member.change(&request, now), key.id);
    change.commit(&site.db, move |tx, acting| lifecycle::revoke(tx, acting, id, reason.clone())).await?;
    session::flash(&request.get_session(), &format!("{} was revoked.", key.name));
    Ok(redirect(&request, &path::keys(&member.org.slug)))
}

fn was_used_lately(key: &Key, now: Time) -> bool {
    key.last_used_at.is_some_and(|at| now.since(at) < DAY)
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    fields: &Fields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (Time::now(), member.person.time_zone());
    let (org, id) = (member.org.id, key.id);
    let found = site.db.read(move |conn| {
        let by_scope = usage::recent::last_day_by_scope(conn, org, id, now)?;
        Ok((by_scope, usage::recent::callers_of_last_day(conn, org, id, now, CALLERS)?))
    });
    let (by_scope, callers) = found.await?;
    let rights = Rights::of(site, member, key).await?;
    let scopes = by_scope
        .iter()
        .map(|(scope, requests)| format!("{} {}", words::number(*requests), scope_name(scope)));
    let view = RevokePage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        in_dialog: is_partial(request),
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        by_scope: scopes.collect::<Vec<_>>().join(", "),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        callers: callers.iter().map(|caller| CallerRow::new(caller, now, &zone)).collect(),
        in_use: was_used_lately(key, now),
        can_rotate: rights.rotate && key.disabled.is_none() && key.rotation(now).is_none(),
        can_disable: rights.edit && key.disabled.is_none(),
        reason: fields.get("reason").to_owned(),
        typed: fields.get("confirm").to_owned(),
        complaints,
    };
    if view.in_dialog { html(status, &view.as_act()) } else { html(status, &view) }
}
