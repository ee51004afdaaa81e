//! The page for changing a key. Its name is shown and can't be changed.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::draft::{Expiry, RawEdit};
use crate::keys::manager::Deed;
use crate::keys::{Key, lifecycle};
use crate::orgs::policy::{self, MAX_DAYS};
use crate::path;
use crate::portal::keys::fields::{self, Choices, KeyFields};
use crate::portal::kit::words;
use crate::time::{DAY, Time};
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/keys/edit.html")]
struct EditPage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    fields: KeyFields,
    complaints: Complaints,
    choices: Choices,
    /// When it ends as it is.
    ends: String,
    zone: String,
}

/// `GET /o/{org}/keys/{id}/edit`.
pub async fn form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    if key.status(Time::now()).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    let fields = KeyFields {
        name: key.name.clone(),
        description: key.description.clone(),
        scopes: key.scopes.names().into_iter().map(str::to_owned).collect(),
        expires: "keep".to_owned(),
        expires_on: String::new(),
        requests_per_minute: key.requests_per_minute.to_string(),
        allowed_ips: fields::network_lines(&key.allowed_ips),
    };
    page(&request, &member, &site, &key, fields, Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/keys/{id}/edit`.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = super::find_for(Deed::Edit, &site, &member, &path.1).await?;
    if submitted.has("name") {
        return Err(Error::NameImmutable.into());
    }
    let fields = KeyFields::submitted(&submitted);
    let expiry = fields.expiry(&member.person.time_zone());
    let raw = RawEdit {
        description: Some(fields.description.clone()),
        scopes: Some(fields.scopes.clone()),
        expires_at: expiry.unwrap_or(Some(Expiry::Unreadable)),
        requests_per_minute: Some(fields.rpm()),
        allowed_ips: Some(fields.networks()),
        ..RawEdit::default()
    };
    let (change, mint, id) = (member.change(&request, now), site.mint.clone(), key.id);
    let changed = match raw.check(now) {
        Ok(edit) => {
            change.commit(&site.db, move |tx, acting| lifecycle::edit(tx, acting, &mint, id, &edit)).await
        }
        Err(errors) => Err(Error::Invalid(errors)),
    };
    match changed {
        Ok(key) => {
            session::flash(&request.get_session(), &format!("{} was changed.", key.name));
            Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
        }
        Err(error) => {
            let complaints = fields::complaints(error)?;
            page(&request, &member, &site, &key, fields, complaints, StatusCode::UNPROCESSABLE_ENTITY).await
        }
    }
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    fields: KeyFields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (Time::now(), member.person.time_zone());
    let org = key.org;
    let policy = site.db.read(move |conn| policy::store::find(conn, org)).await?;
    let latest = policy.latest_end(key.secret_made_at);
    // An end before the one it has can always be chosen.
    let latest = latest.max(key.expires_at.unwrap_or(now.plus(MAX_DAYS * DAY)));
    let choices = Choices::new(&policy, member.role, latest, now, &zone, site.mint.default_rpm).with_held(
        &policy,
        member.role,
        key.scopes,
    );
    let view = EditPage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        complaints,
        choices,
        ends: key.expires_at.map_or_else(|| "never".to_owned(), |end| words::date(end, &zone)),
        zone: member.person.zone_name(),
        fields,
    };
    html(status, &view)
}
