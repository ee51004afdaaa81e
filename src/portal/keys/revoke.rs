//! The page and the dialog for revoking a key, with its current clients.

use actix_web::HttpResponse;
use askama::Template;

use crate::db::Conn;
use crate::error::{Error, FieldError};
use crate::id::KeyId;
use crate::keys::input::check_reason;
use crate::keys::manager::KeyAction;
use crate::keys::{Key, lifecycle};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::clients::CallerRow;
use crate::portal::keys::show::scope_name;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::text::fold;
use crate::time::{DAY, Time};
use crate::usage;
use crate::usage::journal;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

const CALLERS: usize = 5;

#[derive(Template)]
#[template(path = "portal/keys/revoke.html", blocks = ["act"])]
struct RevokePage {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: String,
    /// What has to be typed to confirm.
    confirmation: String,
    /// Whether it is shown in the dialog, which also receives the responses.
    in_dialog: bool,
    requests: i64,
    by_scope: String,
    last_used: Option<When>,
    callers: Vec<CallerRow>,
    /// Whether the key was used in the last 24 hours, so that its name must be typed.
    in_use: bool,
    /// Whether the visitor can rotate it instead.
    can_rotate: bool,
    /// Whether the visitor can disable it instead.
    can_disable: bool,
    reason: String,
    typed: String,
    form_errors: FormErrors,
}

/// `GET /o/{org}/keys/{id}/revoke`.
pub async fn confirm(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    visit.site.meter.wait_until_written().await;
    page(&visit, requested, &Fields::default(), FormErrors::default()).await
}

/// `POST /o/{org}/keys/{id}/revoke`.
pub async fn submit(visit: Visit, requested: RequestedKey, fields: Fields) -> Result<HttpResponse, Problem> {
    visit.site.meter.wait_until_written().await;
    let key = visit.read(move |conn| find(conn, requested)).await?;
    let mut errors = Vec::new();
    let reason = check_reason(fields.get("reason")).map_err(|error| errors.push(error)).unwrap_or_default();
    let wanted = confirmation(&key);
    if was_used_lately(&key, visit.now) && fold(fields.get("confirm")) != fold(wanted) {
        errors.push(FieldError::new(
            "confirm",
            format!("Type {wanted} to confirm that its clients will lose access."),
        ));
    }
    if !errors.is_empty() {
        return page(&visit, requested, &fields, FormErrors(errors)).await;
    }
    let id = key.id;
    visit.change(move |tx, acting| lifecycle::revoke(tx, acting, id, reason.clone())).await?;
    Ok(visit.redirect_with(path::keys(&visit.org.slug), format!("{} was revoked.", key.name)))
}

/// The key, with the time of its last use to the second.
fn find(conn: &mut Conn, requested: RequestedKey) -> Result<Key, Error> {
    let mut key = requested.find_for(conn, KeyAction::Revoke)?;
    let last_uses = journal::last_uses(conn, key.org, &[key.id])?;
    key.last_used_at = key.last_used_at.max(last_uses.get(&key.id).copied());
    Ok(key)
}

/// What has to be typed: the key's name, or its fingerprint's hint if no character of an older name is visible.
fn confirmation(key: &Key) -> &str {
    if fold(&key.name).is_empty() { &key.fingerprint.hint } else { &key.name }
}

fn was_used_lately(key: &Key, now: Time) -> bool {
    key.last_used_at.is_some_and(|at| now.since(at) < DAY)
}

async fn page(
    visit: &Visit,
    requested: RequestedKey,
    fields: &Fields,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, visit.zone.clone());
    let found = visit.read(move |conn| {
        let key = find(conn, requested)?;
        let by_scope = usage::recent::last_day_by_scope(conn, key.org, key.id, now)?;
        let callers = usage::recent::callers_of_last_day(conn, key.org, key.id, now, CALLERS)?;
        Ok((requested.rights(conn, &key)?, key, by_scope, callers))
    });
    let (rights, key, by_scope, callers) = found.await?;
    if key.revoked.is_some() {
        return Ok(visit.redirect(path::key(&visit.org.slug, &key.id)));
    }
    let scopes = by_scope
        .iter()
        .map(|(scope, requests)| format!("{} {}", format::number(*requests), scope_name(scope)));
    let view = RevokePage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        confirmation: confirmation(&key).to_owned(),
        in_dialog: visit.is_partial(),
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        by_scope: scopes.collect::<Vec<_>>().join(", "),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        callers: callers.iter().map(|caller| CallerRow::new(caller, now, &zone)).collect(),
        in_use: was_used_lately(&key, now),
        can_rotate: rights.rotate && key.disabled.is_none() && key.rotation(now).is_none(),
        can_disable: rights.edit && key.disabled.is_none(),
        reason: fields.get("reason").to_owned(),
        typed: fields.get("confirm").to_owned(),
        form_errors,
    };
    if view.in_dialog {
        visit.form(&view.form_errors, &view.as_act())
    } else {
        visit.form(&view.form_errors, &view)
    }
}
