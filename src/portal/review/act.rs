//! Decisions about findings: snoozing one, ending a snooze, removing a scope, restoring it.

use actix_web::HttpResponse;

use crate::id::KeyId;
use crate::path::{self, Href};
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::review::advice;
use crate::review::rules::FindingKind;
use crate::review::snooze::{self, FindingRef};
use crate::scope::Scope;
use crate::web::form::Fields;
use crate::web::problem::Problem;

fn key(fields: &Fields) -> Result<KeyId, Problem> {
    KeyId::parse(fields.get("key")).ok_or_else(Problem::not_found)
}

fn scope(fields: &Fields) -> Result<Option<Scope>, Problem> {
    match fields.get("scope") {
        "" => Ok(None),
        name => Scope::parse(name).map(Some).ok_or_else(Problem::not_found),
    }
}

fn about(fields: &Fields) -> Result<FindingRef, Problem> {
    let kind = FindingKind::parse(fields.get("card")).ok_or_else(Problem::not_found)?;
    let scope = scope(fields)?;
    if scope.is_some() != (kind == FindingKind::ScopeUnused) {
        return Err(Problem::not_found());
    }
    Ok(FindingRef { key: key(fields)?, kind, scope })
}

/// The list that the visitor came from.
fn list(visit: &Visit, kind: FindingKind) -> Href {
    path::review(&visit.org.slug).query("card", kind.name())
}

/// `POST /o/{org}/review/keep`.
pub async fn keep(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let about = about(&fields)?;
    let (key, until) = visit.change(move |tx, acting| snooze::snooze(tx, acting, about)).await?;
    let date = format::date(until, &visit.zone);
    let done = format!("Snoozed {}. You will see it again on {date}.", key.name);
    Ok(visit.redirect_with(list(&visit, about.kind), done))
}

/// `POST /o/{org}/review/reopen`.
pub async fn reopen(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let about = about(&fields)?;
    visit.change(move |tx, acting| snooze::reopen(tx, acting, about)).await?;
    Ok(visit.redirect_with(list(&visit, about.kind), "The finding is shown again."))
}

/// `POST /o/{org}/review/remove-scope`.
pub async fn remove_scope(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let defaults = visit.site.defaults.clone();
    let key = visit.change(move |tx, acting| advice::remove(tx, acting, &defaults, id, scope)).await?;
    let done = format!("{} can no longer use {scope}. You can undo this below for 7 days.", key.name);
    Ok(visit.redirect_with(list(&visit, FindingKind::ScopeUnused), done))
}

/// `POST /o/{org}/review/restore-scope`.
pub async fn restore_scope(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let defaults = visit.site.defaults.clone();
    let key = visit.change(move |tx, acting| advice::undo(tx, acting, &defaults, id, scope)).await?;
    let done = format!("{} can use {scope} again.", key.name);
    Ok(visit.redirect_with(list(&visit, FindingKind::ScopeUnused), done))
}
