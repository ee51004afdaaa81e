//! The page for editing a key. The name can't be changed.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::input::EditInput;
use crate::keys::manager::KeyAction;
use crate::keys::{Key, lifecycle};
use crate::orgs::policy::{self, MAX_DAYS};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::fields::{self, Choices, KeyForm};
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::time::DAY;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/keys/edit.html")]
struct EditPage {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: String,
    fields: KeyForm,
    form_errors: FormErrors,
    choices: Choices,
    /// The current expiry.
    ends: String,
    zone: String,
}

/// `GET /o/{org}/keys/{id}/edit`.
pub async fn form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    page(&visit, requested, None, FormErrors::default()).await
}

fn fields_of(key: &Key) -> KeyForm {
    let mut fields = KeyForm::of(key);
    fields.0.set("expires", ["keep"]);
    fields
}

/// `POST /o/{org}/keys/{id}/edit`.
pub async fn submit(
    visit: Visit,
    requested: RequestedKey,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let key = visit.read(move |conn| requested.find_for(conn, KeyAction::Edit)).await?;
    if submitted.has("name") {
        return Err(Error::NameImmutable.into());
    }
    let fields = KeyForm(submitted);
    let input = EditInput {
        description: Some(fields.get("description").to_owned()),
        scopes: Some(fields.0.all("scopes")),
        expires_at: fields.expiry(&visit.zone),
        settings: fields.settings(),
        ..EditInput::default()
    };
    let (defaults, id) = (visit.site.defaults.clone(), key.id);
    let changed = match input.check(now) {
        Ok(edit) => visit.change(move |tx, acting| lifecycle::edit(tx, acting, &defaults, id, &edit)).await,
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match changed {
        Ok(key) => {
            Ok(visit.redirect_with(path::key(&visit.org.slug, &key.id), format!("{} was changed.", key.name)))
        }
        Err(error) => {
            let form_errors = fields::form_errors(error)?;
            page(&visit, requested, Some(fields), form_errors).await
        }
    }
}

async fn page(
    visit: &Visit,
    requested: RequestedKey,
    typed: Option<KeyForm>,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, &visit.zone);
    let found = visit.read(move |conn| {
        let key = requested.find_active_for(conn, KeyAction::Edit, now)?;
        let policy = policy::store::find(conn, key.org)?;
        Ok((key, policy))
    });
    let (key, policy) = found.await?;
    let fields = typed.unwrap_or_else(|| fields_of(&key));
    let latest = policy.latest_end(key.secret_made_at);
    // An earlier expiry is always allowed.
    let latest = latest.max(key.expires_at.unwrap_or(now.plus(MAX_DAYS * DAY)));
    let choices = Choices::new(&policy, visit.role, latest, now, zone, &visit.site.defaults)
        .with_held(&policy, visit.role, key.scopes);
    let view = EditPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        form_errors,
        choices,
        ends: key.expires_at.map_or_else(|| "never".to_owned(), |end| format::date(end, zone)),
        zone: visit.zone_name(),
        fields,
    };
    visit.form(&view.form_errors, &view)
}
