//! What is decided about findings: kept, put up again, a scope removed or given back.

use actix_session::SessionExt;
use actix_web::{HttpRequest, HttpResponse};

use crate::id::KeyId;
use crate::path;
use crate::review::advice;
use crate::review::keep::{self, About};
use crate::review::rules::Card;
use crate::scope::Scope;
use crate::time::Time;
use crate::web::form::Fields;
use crate::web::page::redirect;
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

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
    let card = Card::parse(fields.get("card")).ok_or_else(Problem::not_found)?;
    let scope = scope(fields)?;
    if scope.is_some() != (card == Card::ScopeUnused) {
        return Err(Problem::not_found());
    }
    Ok(About { key: key(fields)?, card, scope })
}

/// Leads back to the card that the act was about.
fn back(request: &HttpRequest, member: &Member, card: Card, done: &str) -> HttpResponse {
    session::flash(&request.get_session(), done);
    redirect(request, &path::review(&member.org.slug).query("card", card.name()))
}

/// `POST /o/{org}/review/keep`.
pub async fn keep(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (about, change) = (about(&fields)?, member.change(&request, Time::now()));
    change.commit(&site.db, move |tx, acting| keep::keep(tx, acting, about)).await?;
    Ok(back(&request, &member, about.card, "Reviewed. It is not shown here for 90 days."))
}

/// `POST /o/{org}/review/reopen`.
pub async fn reopen(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (about, change) = (about(&fields)?, member.change(&request, Time::now()));
    change.commit(&site.db, move |tx, acting| keep::reopen(tx, acting, about)).await?;
    Ok(back(&request, &member, about.card, "It is up for review again."))
}

/// `POST /o/{org}/review/remove-scope`.
pub async fn remove_scope(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let (change, mint) = (member.change(&request, Time::now()), site.mint.clone());
    let key = change.commit(&site.db, move |tx, acting| advice::remove(tx, acting, &mint, id, scope)).await?;
    let done = format!("{} can no longer use {scope}. You can undo this for 7 days, below.", key.name);
    Ok(back(&request, &member, Card::ScopeUnused, &done))
}

/// `POST /o/{org}/review/restore-scope`.
pub async fn restore_scope(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (id, scope) = (key(&fields)?, scope(&fields)?.ok_or_else(Problem::not_found)?);
    let (change, mint) = (member.change(&request, Time::now()), site.mint.clone());
    let key = change.commit(&site.db, move |tx, acting| advice::undo(tx, acting, &mint, id, scope)).await?;
    Ok(back(&request, &member, Card::ScopeUnused, &format!("{} can use {scope} again.", key.name)))
}
