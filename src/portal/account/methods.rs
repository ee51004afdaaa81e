//! Removing a sign-in method.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use askama::Template;

use crate::audit::event::Event;
use crate::error::Error;
use crate::id::MethodId;
use crate::mail::Change;
use crate::orgs::account_log;
use crate::path;
use crate::people::credential::PASSWORD;
use crate::people::methods::Method;
use crate::people::{methods, notice};
use crate::portal::kit::visit::AccountVisit;
use crate::web::Shared;
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/account/disconnect.html")]
struct DisconnectPage {
    layout: Layout,
    id: MethodId,
    name: String,
    is_last: bool,
}

/// `GET /account/methods/{id}/disconnect`.
pub async fn confirm(visit: AccountVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (id, person) = (MethodId::parse(&path).ok_or_else(Problem::not_found)?, visit.person.id);
    let own = visit.read(move |conn| methods::of_person(conn, person)).await?;
    let method = own.iter().find(|method| method.id == id).ok_or_else(Problem::not_found)?;
    let page = DisconnectPage {
        layout: visit.layout(NavSection::Account),
        id,
        name: name(&visit.site, method),
        is_last: own.len() == 1,
    };
    visit.page(&page)
}

/// `POST /account/methods/{id}/disconnect`.
pub async fn disconnect(visit: AccountVisit, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    let id = MethodId::parse(&path).ok_or_else(Problem::not_found)?;
    let person = visit.person.clone();
    let names = visit.site.clone();
    let removed = visit
        .change(move |tx, holder| {
            let removed = methods::remove(tx, person.id, id)?;
            let change = Change::MethodRemoved(name(&names, &removed));
            notice::send(tx, &person, change, &holder.source, holder.now)?;
            account_log::append(tx, holder, &Event::MethodRemoved { method: removed.kind.clone() })?;
            Ok(removed)
        })
        .await;
    match removed {
        Ok(removed) => {
            let message = format!("{} was removed.", name(&visit.site, &removed));
            Ok(visit.redirect_with(path::account(), message))
        }
        Err(Error::Conflict(_)) => {
            let layout = visit.layout(NavSection::Account);
            let page = DisconnectPage { layout, id, name: String::new(), is_last: true };
            visit.page_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
        Err(error) => Err(error.into()),
    }
}

fn name(site: &Shared, method: &Method) -> String {
    match site.providers.of_identity(&method.kind, &method.issuer) {
        Some(provider) => provider.name().to_owned(),
        None if method.kind == PASSWORD => "Password".to_owned(),
        // The configuration named this provider when it was connected.
        None => method.issuer.clone(),
    }
}
