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
use crate::path;
use crate::people::password::{self, NewPassword};
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::problem::Problem;
use crate::web::request::source;
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/entrance/setup.html")]
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
        return Ok(redirect(&request, &path::home()));
    }
    let status = if open || !fields.has("token") { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
    html(status, &SetupPage { layout, open, fields, complaints: Complaints::default() })
}

/// `POST /setup`.
pub async fn submit(request: HttpRequest, site: Shared, fields: Fields) -> Result<HttpResponse, Problem> {
    if !is_open(&site, &fields).await? {
        let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
        let detail = "This link does not count, or not any more.";
        let complaints = Complaints(vec![FieldError::new("main", detail)]);
        let page = SetupPage { layout, open: false, fields, complaints };
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let password: SecretString = fields.get("password").into();
    let [organization, name, email] = ["organization", "name", "email"].map(|field| fields.get(field));
    let refused = |errors, fields: &Fields| {
        let (fields, complaints) = (fields.clone(), Complaints(errors));
        let layout = Layout { person: None, ..Layout::of(&request, Room::None) };
        html(StatusCode::UNPROCESSABLE_ENTITY, &SetupPage { layout, open: true, fields, complaints })
    };
    let parsed = SetUp::parse(organization, name, email);
    let too_short = password::check_length("password", &password).err();
    let mut set_up = match (parsed, too_short) {
        (Ok(set_up), None) => set_up,
        (parsed, too_short) => {
            return refused(parsed.err().into_iter().flatten().chain(too_short).collect(), &fields);
        }
    };
    let password = match NewPassword::check("password", password, &[organization, name, email]).await {
        Ok(password) => password,
        Err(Error::Invalid(errors)) => return refused(errors, &fields),
        Err(other) => return Err(other.into()),
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
    session::sign_in(&request, &owner, now);
    session::flash(&request.get_session(), &format!("{} is set up. Create your first key.", org.name));
    Ok(redirect(&request, &path::keys(&org.slug)))
}

async fn is_open(site: &Shared, fields: &Fields) -> Result<bool, Problem> {
    let (keyring, token) = (site.mint.keyring.clone(), fields.get("token").to_owned());
    Ok(site.db.read(move |conn| installation::accepts(conn, &keyring, &token)).await?)
}
