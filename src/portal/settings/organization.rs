//! The settings of an organisation: its name. Its address in links stays.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::db::Conn;
use crate::id::OrgId;
use crate::keys::roots;
use crate::orgs::rename;
use crate::path;
use crate::portal::kit::words;
use crate::portal::settings::Tabs;
use crate::role::Act;
use crate::time::Time;
use crate::verify::limit::State;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/settings/organization.html")]
struct OrganizationPage {
    layout: Layout,
    org: Place,
    tabs: Tabs,
    id: String,
    created: String,
    zone: String,
    /// How limits are kept, where that is not exactly.
    limits: Option<Limits>,
    /// How far the replacement of the root secret has come, while it is being replaced.
    replacement: Option<String>,
    /// What stands in the field.
    name: String,
    complaints: Complaints,
}

/// How limits are kept, where that is not exactly.
struct Limits {
    words: String,
    /// A line of nginx's configuration that helps.
    line: Option<&'static str>,
}

impl Limits {
    fn of(state: State) -> Option<Limits> {
        match state {
            State::Exact => None,
            State::Divided(processes) => Some(Limits {
                words: format!(
                    "Valkey is away. Until it is back, each of {processes} processes has its share of each limit."
                ),
                line: None,
            }),
            State::PerProcess(processes) => Some(Limits {
                words: format!(
                    "Each of {processes} processes keeps limits of its own, so a key may make up to {processes} times \
                     as many requests as its limit says. Set KEYDESK_VALKEY_URL, or have nginx send each key to \
                     one process:"
                ),
                line: Some("hash $http_authorization consistent;"),
            }),
        }
    }
}

/// `GET /o/{org}/settings`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let name = member.org.name.clone();
    page(&request, &member, &site, name, Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/settings`: saves the name.
pub async fn save(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let name = match rename::check_name("name", fields.get("name")) {
        Ok(name) => name,
        Err(error) => {
            let (typed, complaints) = (fields.get("name").to_owned(), Complaints(vec![error]));
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return page(&request, &member, &site, typed, complaints, status).await;
        }
    };
    let change = member.change(&request, Time::now());
    change.commit(&site.db, move |tx, acting| rename::rename(tx, acting, &name)).await?;
    session::flash(&request.get_session(), "The organisation was saved.");
    Ok(redirect(&request, &path::settings(&member.org.slug)))
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    name: String,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let view = OrganizationPage {
        layout: Layout::of(request, Room::Settings).with_flash(request),
        org: Place::of(&member.org),
        tabs: Tabs::load(site, member, "organization").await?,
        id: member.org.id.to_string(),
        created: words::date(member.org.created_at, &member.person.time_zone()),
        zone: member.person.zone_name(),
        limits: Limits::of(site.limiter.state()),
        replacement: replacement(site, member.org.id).await?,
        name,
        complaints,
    };
    html(status, &view)
}

/// How many secrets of the organisation still need the root secret before this one, if there is one.
async fn replacement(site: &Shared, org: OrgId) -> Result<Option<String>, Problem> {
    let keyring = &site.mint.keyring;
    if keyring.previous_root_tag().is_none() {
        return Ok(None);
    }
    let own = keyring.root_tag();
    let count = move |conn: &mut Conn| {
        let now = Time::now();
        Ok((roots::under_others(conn, own, Some(org), now)?, roots::working(conn, Some(org), now)?))
    };
    let (left, all) = site.db.read(count).await?;
    Ok(Some(match left {
        0 => "Replaced: no key’s secret uses the one before".to_owned(),
        _ => format!(
            "Being replaced: {} of {} of keys still {} the one before. A secret moves when its key is used.",
            words::number(left),
            words::count(all, "secret", "secrets"),
            if left == 1 { "uses" } else { "use" }
        ),
    }))
}
