//! The page that says who answers for a key: its owner, and the backup who gets its mails too.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::draft::Edit;
use crate::keys::manager::Deed;
use crate::keys::{Key, lifecycle};
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::portal::keys::fields;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

#[derive(Template)]
#[template(path = "portal/keys/owner.html")]
struct OwnerPage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    /// Who can be chosen, by id. The reader chooses an owner only if they manage all keys.
    owners: Vec<(String, String)>,
    backups: Vec<(String, String)>,
    owner: String,
    backup: String,
    complaints: Complaints,
}

/// `GET /o/{org}/keys/{id}/owner`.
pub async fn form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    if key.status(Time::now()).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    let backup = key.backup.as_ref().map(|backup| backup.id.to_string()).unwrap_or_default();
    let chosen = (key.owner.id.to_string(), backup);
    page(&request, &member, &site, &key, chosen, Complaints::default()).await
}

/// `POST /o/{org}/keys/{id}/owner`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    let (owner, backup) = (submitted.get("owner").to_owned(), submitted.get("backup").to_owned());
    let edit = Edit {
        owner: (!owner.is_empty() && owner != key.owner.id.to_string()).then(|| owner.clone()),
        backup: Some((!backup.is_empty()).then(|| backup.clone())),
        ..Edit::default()
    };
    let (change, mint, id) = (member.change(&request, Time::now()), site.mint.clone(), key.id);
    let changed =
        change.commit(&site.db, move |tx, acting| lifecycle::edit(tx, acting, &mint, id, &edit)).await;
    match changed {
        Ok(changed) => {
            let done = format!("{} answers for {} now.", changed.owner.name, changed.name);
            session::flash(&request.get_session(), &done);
            Ok(redirect(&request, &path::key(&member.org.slug, &id)))
        }
        Err(error) => {
            let complaints = fields::complaints(error)?;
            page(&request, &member, &site, &key, (owner, backup), complaints).await
        }
    }
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    (owner, backup): (String, String),
    complaints: Complaints,
) -> Result<HttpResponse, Problem> {
    let org = member.org.id;
    let members = site.db.read(move |conn| store::members_of(conn, org)).await?;
    let may_own =
        |member: &&Membership| member.is_active() && key.scopes.without(member.role.grantable()).is_empty();
    let choice = |member: &Membership| {
        let kind = if member.is_service() { "service account" } else { member.person.email.as_str() };
        (member.person.id.to_string(), format!("{} ({kind})", member.person.name))
    };
    let refused = !complaints.is_empty();
    let view = OwnerPage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        owners: if member.role.manages_all_keys() {
            members
                .iter()
                .filter(|other| may_own(other) || other.person.id == key.owner.id)
                .map(choice)
                .collect()
        } else {
            Vec::new()
        },
        backups: members
            .iter()
            .filter(|other| other.is_active() && !other.is_service())
            .map(choice)
            .collect(),
        owner,
        backup,
        complaints,
    };
    html(if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &view)
}
