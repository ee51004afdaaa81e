//! The account page: who is signed in, and in which zone they are told times.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde_json::json;

use crate::audit::event::{Actor, Change, Event};
use crate::error::FieldError;
use crate::orgs::journal;
use crate::people;
use crate::portal::origin;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Reader, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/account.html")]
struct AccountPage {
    layout: Layout,
    reader: Reader,
    roles: Vec<(String, &'static str)>,
    zones: Vec<String>,
    complaints: Complaints,
}

/// `GET /account`.
pub async fn show(request: HttpRequest, signed_in: SignedIn) -> Result<HttpResponse, Problem> {
    let layout = Layout::of(&request, Room::Account).with_flash(&request);
    html(StatusCode::OK, &page(layout, &signed_in, None, Complaints::default()))
}

/// `POST /account`: saves the zone.
pub async fn save(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let zone = fields.get("zone").to_owned();
    if jiff::tz::TimeZone::get(&zone).is_err() || zone.len() > 64 {
        let complaints = Complaints(vec![FieldError::new("zone", "Choose a time zone from the list.")]);
        let layout = Layout::of(&request, Room::Account);
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page(layout, &signed_in, Some(zone), complaints));
    }
    let (person, origin, now) = (signed_in.person, origin(&request), Time::now());
    site.db
        .write(move |tx| {
            if person.zone.as_deref() == Some(&zone) {
                return Ok(());
            }
            people::store::set_zone(tx, person.id, &zone)?;
            let changes =
                vec![Change { field: "zone".into(), before: json!(person.zone), after: json!(zone) }];
            let event = Event::PersonUpdated { changes };
            journal::note(tx, person.id, Actor::Person(person.id), &origin, &event, now)
        })
        .await?;
    session::flash(&request.get_session(), "Your time zone was saved.");
    Ok(redirect(&request, "/account"))
}

fn page(layout: Layout, signed_in: &SignedIn, zone: Option<String>, complaints: Complaints) -> AccountPage {
    let person = &signed_in.person;
    let zone = zone.or_else(|| person.zone.clone()).unwrap_or_else(|| "UTC".to_owned());
    let mut zones: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    zones.retain(|name| {
        name == "UTC" || (name.contains('/') && !name.starts_with("Etc/") && !name.starts_with("posix"))
    });
    zones.sort();
    AccountPage {
        layout,
        reader: Reader { name: person.name.clone(), email: person.email.clone(), zone },
        roles: signed_in.orgs.iter().map(|(org, role)| (org.name.clone(), role.name())).collect(),
        zones,
        complaints,
    }
}
