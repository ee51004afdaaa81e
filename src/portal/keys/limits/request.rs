//! Requesting a higher limit for a key, and withdrawing the request.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::limit_request::{self, Ask, rows};
use crate::keys::manager::KeyAction;
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/keys/limits/request.html")]
struct AskPage {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: String,
    now: String,
    largest: String,
    /// The values of the fields.
    limit: String,
    reason: String,
    form_errors: FormErrors,
}

/// `GET /o/{org}/keys/{id}/limit`.
pub async fn form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    page(&visit, requested, ["", ""], FormErrors::default()).await
}

/// `POST /o/{org}/keys/{id}/limit`: sends the request.
pub async fn submit(visit: Visit, requested: RequestedKey, fields: Fields) -> Result<HttpResponse, Problem> {
    let key = visit.read(move |conn| requested.find_for(conn, KeyAction::Edit)).await?;
    let (limit, reason) = (fields.get("limit"), fields.get("reason"));
    let (defaults, id) = (visit.site.defaults.clone(), key.id);
    let asked = match Ask::parse(limit, reason) {
        Ok(ask) => visit.change(move |tx, acting| limit_request::ask(tx, acting, &defaults, id, &ask)).await,
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match asked {
        Ok(()) => Ok(visit.redirect_with(
            path::key(&visit.org.slug, &id),
            "Your request was sent. You will get an e-mail when an admin decides.",
        )),
        Err(Error::Invalid(errors)) => page(&visit, requested, [limit, reason], FormErrors(errors)).await,
        Err(error) => Err(error.into()),
    }
}

/// `POST /o/{org}/keys/{id}/limit/withdraw`: withdraws the request.
pub async fn withdraw(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let id = visit.read(move |conn| requested.find(conn)).await?.id;
    visit.change(move |tx, acting| limit_request::withdraw(tx, acting, id)).await?;
    Ok(visit.redirect_with(path::key(&visit.org.slug, &id), "Your request was withdrawn."))
}

async fn page(
    visit: &Visit,
    requested: RequestedKey,
    [limit, reason]: [&str; 2],
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let found = visit.read(move |conn| {
        let key = requested.find_active_for(conn, KeyAction::Edit, now)?;
        let (open, policy) = (rows::open(conn, key.org, key.id)?, policy::store::find(conn, key.org)?);
        Ok((key, open, policy))
    });
    let (key, open, policy) = found.await?;
    if open.is_some() {
        // The key's page shows it and lets the member withdraw it.
        return Ok(visit.redirect(path::key(&visit.org.slug, &key.id)));
    }
    let view = AskPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        now: format::number(key.settings.requests_per_minute.get().into()),
        largest: format::number(policy.rules.largest_rpm.into()),
        limit: limit.to_owned(),
        reason: reason.to_owned(),
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}
