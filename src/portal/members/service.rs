//! The pages for making and changing a service account.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::orgs::service::{self, Draft};
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::portal::members::find_managed;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/members/service.html")]
struct ServicePage {
    layout: Layout,
    org: Place,
    /// The account that is changed; `None` for a new one.
    account: Option<Membership>,
    name: String,
    /// Id, name and address of who may answer, and whether they are chosen.
    people: Vec<(String, String, String, bool)>,
    complaints: Complaints,
}

/// `GET /o/{org}/service-accounts/new`.
pub async fn form(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let chosen = vec![member.person.id.to_string()];
    page(&request, &member, &site, None, (String::new(), chosen), Complaints::default()).await
}

/// `POST /o/{org}/service-accounts`.
pub async fn create(
    request: HttpRequest,
    member: Member,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (name, chosen) = (fields.get("name").to_owned(), fields.all("answerers"));
    let made = match Draft::parse(&name, &chosen) {
        Ok(draft) => {
            let change = member.change(&request, Time::now());
            change.commit(&site.db, move |tx, acting| service::create(tx, acting, &draft)).await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match made {
        Ok(account) => {
            session::flash(&request.get_session(), &format!("{} was created.", account.name));
            Ok(redirect(&request, &path::member(&member.org.slug, &account.id)))
        }
        Err(error) => page(&request, &member, &site, None, (name, chosen), Complaints(invalid(error)?)).await,
    }
}

/// `GET /o/{org}/service-accounts/{id}/edit`.
pub async fn edit_form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let account = find_account(&site, &member, &path.1).await?;
    let (org, id) = (member.org.id, account.person.id);
    let answering = site.db.read(move |conn| store::answerers(conn, org, id)).await?;
    let chosen = answering.iter().map(|member| member.person.id.to_string()).collect();
    let name = account.person.name.clone();
    page(&request, &member, &site, Some(account), (name, chosen), Complaints::default()).await
}

/// `POST /o/{org}/service-accounts/{id}/edit`.
pub async fn edit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let account = find_account(&site, &member, &path.1).await?;
    let (name, chosen) = (fields.get("name").to_owned(), fields.all("answerers"));
    let id = account.person.id;
    let changed = match Draft::parse(&name, &chosen) {
        Ok(draft) => {
            let change = member.change(&request, Time::now());
            change.commit(&site.db, move |tx, acting| service::edit(tx, acting, id, &draft)).await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match changed {
        Ok(()) => {
            session::flash(&request.get_session(), "The service account was changed.");
            Ok(redirect(&request, &path::member(&member.org.slug, &id)))
        }
        Err(error) => {
            page(&request, &member, &site, Some(account), (name, chosen), Complaints(invalid(error)?)).await
        }
    }
}

async fn find_account(site: &Shared, member: &Member, id: &str) -> Result<Membership, Problem> {
    let found = find_managed(site, member, id).await?;
    if found.is_service() { Ok(found) } else { Err(Problem::not_found()) }
}

fn invalid(error: Error) -> Result<Vec<FieldError>, Problem> {
    match error {
        Error::Invalid(errors) => Ok(errors),
        other => Err(other.into()),
    }
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    account: Option<Membership>,
    (name, chosen): (String, Vec<String>),
    complaints: Complaints,
) -> Result<HttpResponse, Problem> {
    let org = member.org.id;
    let members = site.db.read(move |conn| store::members_of(conn, org)).await?;
    let people = members.into_iter().filter(|member| member.is_active() && !member.is_service());
    let refused = !complaints.is_empty();
    let view = ServicePage {
        layout: Layout::of(request, Room::Members),
        org: Place::of(&member.org),
        account,
        name,
        people: people
            .map(|member| {
                let id = member.person.id.to_string();
                let is_chosen = chosen.contains(&id);
                (id, member.person.name, member.person.email, is_chosen)
            })
            .collect(),
        complaints,
    };
    html(if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &view)
}
