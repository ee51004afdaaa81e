//! What is decided about findings: kept, put up again, a scope removed or given back.

use actix_web::HttpResponse;

use crate::id::KeyId;
use crate::path::{self, Href};
use crate::portal::kit::visit::Visit;
use crate::review::advice;
use crate::review::rules::FindingKind;
use crate::review::snooze::{self, About};
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

fn about(fields: &Fields) -> Result<About, Problem> {
    let kind = FindingKind::parse(fields.get("card")).ok_or_else(Problem::not_found)?;
    let scope = scope(fields)?;
    if scope.is_some() != (kind == FindingKind::ScopeUnused) {
        return Err(Problem::not_found());
    }
    Ok(About { key: key(fields)?, kind, scope })
}

/// Leads back to the findings that the visitor looked at.
fn list(visit: &Visit, kind: FindingKind) -> Href {
    path::review(&visit.org.slug).query("card", kind.name())
}

/// `POST /o/{org}/review/keep`.
pub async fn keep(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let about = about(&fields)?;
    visit.change(move |tx, acting| snooze::snooze(tx, acting, about)).await?;
    Ok(visit.redirect_with(list(&visit, about.kind), "Reviewed. It is not shown here for 90 days."))
}

/// `POST /o/{org}/review/reopen`.
pub async fn reopen(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let about = about(&fields)?;
    visit.change(move |tx, acting| snooze::reopen(tx, acting, about)).await?;
    Ok(visit.redirect_with(list(&visit, about.kind), "It is up for review again."))
}

/// `POST /o/{org}/review/remove-scope`.
pub async fn remove_scope(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let mint = visit.site.mint.clone();
    let key = visit.change(move |tx, acting| advice::remove(tx, acting, &mint, id, scope)).await?;
    let done = format!("{} can no longer use {scope}. You can undo this for 7 days, below.", key.name);
    Ok(visit.redirect_with(list(&visit, FindingKind::ScopeUnused), done))
}

/// `POST /o/{org}/review/restore-scope`.
pub async fn restore_scope(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let mint = visit.site.mint.clone();
    let key = visit.change(move |tx, acting| advice::undo(tx, acting, &mint, id, scope)).await?;
    let done = format!("{} can use {scope} again.", key.name);
    Ok(visit.redirect_with(list(&visit, FindingKind::ScopeUnused), done))
}
