//! The owner and the backup of a key.

use actix_web::HttpResponse;
use askama::Template;

use crate::id::KeyId;
use crate::keys::input::Edit;
use crate::keys::lifecycle;
use crate::keys::manager::KeyAction;
use crate::orgs::store::{self, Membership};
use crate::path;
use crate::portal::keys::{RequestedKey, fields};
use crate::portal::kit::visit::Visit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/keys/owner.html")]
struct OwnerPage {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: String,
    /// Ids and labels of possible owners; empty for members who don't manage all keys.
    owners: Vec<(String, String)>,
    backups: Vec<(String, String)>,
    owner: String,
    backup: String,
    form_errors: FormErrors,
}

/// `GET /o/{org}/keys/{id}/owner`.
pub async fn form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    page(&visit, requested, None, FormErrors::default()).await
}

/// `POST /o/{org}/keys/{id}/owner`.
pub async fn submit(
    visit: Visit,
    requested: RequestedKey,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let key = visit.read(move |conn| requested.find_for(conn, KeyAction::Edit)).await?;
    let (owner, backup) = (submitted.get("owner").to_owned(), submitted.get("backup").to_owned());
    let edit = Edit {
        owner: (!owner.is_empty() && owner != key.owner.id.to_string()).then(|| owner.clone()),
        backup: Some((!backup.is_empty()).then(|| backup.clone())),
        ..Edit::default()
    };
    let (defaults, id) = (visit.site.defaults.clone(), key.id);
    let changed = visit.change(move |tx, acting| lifecycle::edit(tx, acting, &defaults, id, &edit)).await;
    match changed {
        Ok(changed) => {
            let done = format!("{} now owns {}.", changed.owner.name, changed.name);
            Ok(visit.redirect_with(path::key(&visit.org.slug, &id), done))
        }
        Err(error) => {
            let form_errors = fields::form_errors(error)?;
            page(&visit, requested, Some((owner, backup)), form_errors).await
        }
    }
}

/// `chosen`: the owner and the backup, by id.
async fn page(
    visit: &Visit,
    requested: RequestedKey,
    chosen: Option<(String, String)>,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let found = visit.read(move |conn| {
        let key = requested.find_active_for(conn, KeyAction::Edit, now)?;
        let members = store::members_of(conn, key.org)?;
        Ok((key, members))
    });
    let (key, members) = found.await?;
    let (owner, backup) = chosen.unwrap_or_else(|| {
        let backup = key.backup.as_ref().map(|backup| backup.id.to_string());
        (key.owner.id.to_string(), backup.unwrap_or_default())
    });
    let may_own =
        |member: &&Membership| member.is_active() && key.scopes.without(member.role.grantable()).is_empty();
    let choice = |member: &Membership| {
        let kind = if member.is_service() { "service account" } else { member.person.email.as_str() };
        (member.person.id.to_string(), format!("{} ({kind})", member.person.name))
    };
    let view = OwnerPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        owners: if visit.role.manages_all_keys() {
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
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}
