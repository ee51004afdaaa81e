//! The set-up page: organisation and first owner, by the one-time link.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use secrecy::SecretString;

use crate::error::{Error, FieldError};
use crate::installation;
use crate::orgs::setup::By;
use crate::orgs::setup::SetUp;
use crate::people::password;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/setup.html")]
struct SetupPage {
    layout: Layout,
    /// Whether the link counts; without it there is only a word on where to find it.
    open: bool,
    fields: Fields,
    complaints: Complaints,
}

/// `GET /setup`.
pub async fn form(request: HttpRequest, site: Shared) -> Result<HttpResponse, Problem> {
    let fields = Fields::of_query(&request);
    let open = is_open(&site, &fields).await?;
    if !open && site.db.read(installation::is_set_up).await? {
        // Set up already: the link has done its work.
        return Ok(redirect(&request, "/"));
    }
    let status = if open || !fields.has("token") { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
    html(status, &SetupPage { layout, open, fields, complaints: Complaints::default() })
}

/// `POST /setup`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
    if !is_open(&site, &fields).await? {
        let detail = "This link does not count, or not any more.";
        let complaints = Complaints(vec![FieldError::new("main", detail)]);
        let page = SetupPage { layout, open: false, fields, complaints };
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let password: SecretString = fields.get("password").into();
    let mut set_up = match SetUp::parse(
        fields.get("organization"),
        fields.get("name"),
        fields.get("email"),
        Some(&password),
    ) {
        Ok(set_up) => set_up,
        Err(errors) => {
            let page = SetupPage { layout, open: true, fields, complaints: Complaints(errors) };
            return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
        }
    };
    set_up.zone = jiff::tz::TimeZone::get(fields.get("zone")).ok().map(|_| fields.get("zone").to_owned());
    let hashed = password::hash(password).await?;
    let now = Time::now();
    let (keyring, token, source) =
        (site.mint.keyring.clone(), fields.get("token").to_owned(), source(&request));
    let made = site.db.write(move |tx| {
        // The link is looked at again where it is used up: of two submits one wins.
        if !installation::accepts(tx.conn, &keyring, &token)? {
            return Err(Error::Forbidden);
        }
        set_up.first(tx, &hashed, By::Link(source.clone()), now)
    });
    let (org, owner) = made.await?;
    session::sign_in(&request, owner.id, now);
    session::flash(&request.get_session(), &format!("{} is set up. Create your first key.", org.name));
    Ok(redirect(&request, &format!("/o/{}/keys", org.slug)))
}

async fn is_open(site: &Shared, fields: &Fields) -> Result<bool, Problem> {
    let (keyring, token) = (site.mint.keyring.clone(), fields.get("token").to_owned());
    Ok(site.db.read(move |conn| installation::accepts(conn, &keyring, &token)).await?)
}
