//! Creating and editing a service account.

use actix_web::HttpResponse;
use askama::Template;

use crate::db::Conn;
use crate::error::{Error, FieldError};
use crate::orgs::service::{self, ServiceAccountDraft};
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::portal::kit::visit::Visit;
use crate::portal::members::RequestedMember;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/members/service.html")]
struct ServicePage {
    layout: Layout,
    org: OrgLink,
    /// `None` for a new account.
    account: Option<Membership>,
    name: String,
    /// Possible responsible people: id, name, address, and whether they are chosen.
    people: Vec<(String, String, String, bool)>,
    form_errors: FormErrors,
}

/// `GET /o/{org}/service-accounts/new`.
pub async fn form(visit: Visit) -> Result<HttpResponse, Problem> {
    page(&visit, None, None, FormErrors::default()).await
}

/// `POST /o/{org}/service-accounts`.
pub async fn create(visit: Visit, fields: Fields) -> Result<HttpResponse, Problem> {
    let (name, chosen) = (fields.get("name").to_owned(), fields.all("answerers"));
    let made = match ServiceAccountDraft::parse(&name, &chosen) {
        Ok(draft) => visit.change(move |tx, acting| service::create(tx, acting, &draft)).await,
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match made {
        Ok(account) => Ok(visit.redirect_with(
            path::member(&visit.org.slug, &account.id),
            format!("{} was created.", account.name),
        )),
        Err(error) => page(&visit, None, Some((name, chosen)), FormErrors(invalid(error)?)).await,
    }
}

/// `GET /o/{org}/service-accounts/{id}/edit`.
pub async fn edit_form(visit: Visit, requested: RequestedMember) -> Result<HttpResponse, Problem> {
    page(&visit, Some(requested), None, FormErrors::default()).await
}

/// `POST /o/{org}/service-accounts/{id}/edit`.
pub async fn edit(visit: Visit, requested: RequestedMember, fields: Fields) -> Result<HttpResponse, Problem> {
    let account = visit.read(move |conn| find_account(conn, requested)).await?;
    let (name, chosen) = (fields.get("name").to_owned(), fields.all("answerers"));
    let id = account.person.id;
    let changed = match ServiceAccountDraft::parse(&name, &chosen) {
        Ok(draft) => visit.change(move |tx, acting| service::edit(tx, acting, id, &draft)).await,
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match changed {
        Ok(()) => {
            Ok(visit.redirect_with(path::member(&visit.org.slug, &id), "The service account was changed."))
        }
        Err(error) => page(&visit, Some(requested), Some((name, chosen)), FormErrors(invalid(error)?)).await,
    }
}

fn find_account(conn: &mut Conn, requested: RequestedMember) -> Result<Membership, Error> {
    let found = requested.find_managed(conn)?;
    if found.is_service() { Ok(found) } else { Err(Error::NotFound) }
}

fn invalid(error: Error) -> Result<Vec<FieldError>, Problem> {
    match error {
        Error::Invalid(errors) => Ok(errors),
        other => Err(other.into()),
    }
}

/// `requested`: the account to change; `None` for a new one. `typed`: the name and the people of a form
/// with errors.
async fn page(
    visit: &Visit,
    requested: Option<RequestedMember>,
    typed: Option<(String, Vec<String>)>,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let org = visit.org.id;
    let found = visit.read(move |conn| {
        let account = requested.map(|requested| find_account(conn, requested)).transpose()?;
        let answering = match &account {
            Some(account) => store::answerers(conn, org, account.person.id)?,
            None => Vec::new(),
        };
        Ok((account, answering, store::members_of(conn, org)?))
    });
    let (account, answering, members) = found.await?;
    let (name, chosen) = typed.unwrap_or_else(|| match &account {
        Some(account) => {
            let chosen = answering.iter().map(|member| member.person.id.to_string()).collect();
            (account.person.name.clone(), chosen)
        }
        None => (String::new(), vec![visit.person.id.to_string()]),
    });
    let people = members.into_iter().filter(|member| member.is_active() && !member.is_service());
    let view = ServicePage {
        layout: visit.layout(NavSection::Members),
        org: visit.org_link(),
        account,
        name,
        people: people
            .map(|member| {
                let id = member.person.id.to_string();
                let is_chosen = chosen.contains(&id);
                (id, member.person.name, member.person.email, is_chosen)
            })
            .collect(),
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}
