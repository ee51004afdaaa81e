//! Giving up a way to sign in.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::audit::event::Event;
use crate::error::Error;
use crate::id::MethodId;
use crate::mail::Change;
use crate::orgs::journal;
use crate::path;
use crate::people::oauth::Kind;
use crate::people::{methods, notice};
use crate::time::Time;
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/account/disconnect.html")]
struct DisconnectPage {
    layout: Layout,
    id: MethodId,
    name: String,
    is_last: bool,
}

/// `GET /account/methods/{id}/disconnect`.
pub async fn confirm(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (id, person) = (MethodId::parse(&path).ok_or_else(Problem::not_found)?, signed_in.person.id);
    let own = site.db.read(move |conn| methods::of_person(conn, person)).await?;
    let method = own.iter().find(|method| method.id == id).ok_or_else(Problem::not_found)?;
    let page = DisconnectPage {
        layout: Layout::of(&request, Room::Account),
        id,
        name: name(&site, &method.kind),
        is_last: own.len() == 1,
    };
    html(StatusCode::OK, &page)
}

/// `POST /account/methods/{id}/disconnect`.
pub async fn disconnect(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    path: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = MethodId::parse(&path).ok_or_else(Problem::not_found)?;
    let (change, person) = (signed_in.change(&request, Time::now()), signed_in.person);
    let names = site.clone();
    let removed = change
        .commit(&site.db, move |tx, holder| {
            let removed = methods::remove(tx, person.id, id)?;
            let change = Change::MethodRemoved(name(&names, &removed.kind));
            notice::tell(tx, &person, change, &holder.source, holder.now)?;
            journal::note(tx, holder, &Event::MethodRemoved { method: removed.kind.clone() })?;
            Ok(removed)
        })
        .await;
    match removed {
        Ok(removed) => {
            let told = format!("{} was removed.", name(&site, &removed.kind));
            session::flash(&request.get_session(), &told);
            Ok(redirect(&request, &path::account()))
        }
        Err(Error::Conflict(_)) => {
            let layout = Layout::of(&request, Room::Account);
            let page = DisconnectPage { layout, id, name: String::new(), is_last: true };
            html(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
        Err(error) => Err(error.into()),
    }
}

fn name(site: &Shared, kind: &str) -> String {
    let provider = Kind::parse(kind).and_then(|kind| site.providers.get(kind));
    provider.map_or_else(|| "Password".to_owned(), |provider| provider.name().to_owned())
}
