//! The set-up page: the first organisation and its owner, through the one-time link.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use secrecy::SecretString;

use crate::error::{Error, FieldError};
use crate::installation;
use crate::orgs::setup::{OrgSetup, SetupActor};
use crate::path;
use crate::people::password::{self, NewPassword};
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::Layout;
use crate::web::problem::Problem;
use crate::web::session;

#[derive(Template)]
#[template(path = "portal/entrance/setup.html")]
struct SetupPage {
    layout: Layout,
    /// Whether the link is valid. Without it, the page says where to find it.
    open: bool,
    fields: Fields,
    form_errors: FormErrors,
}

/// `GET /setup`.
pub async fn form(visit: GuestVisit) -> Result<HttpResponse, Problem> {
    let fields = visit.query();
    let open = is_open(&visit, &fields).await?;
    if !open && visit.read(installation::is_set_up).await? {
        // The link was used.
        return Ok(visit.redirect(path::home()));
    }
    let status = if open || !fields.has("token") { StatusCode::OK } else { StatusCode::FORBIDDEN };
    let layout = visit.bare_layout();
    visit.page_with_status(status, &SetupPage { layout, open, fields, form_errors: FormErrors::default() })
}

/// `POST /setup`.
pub async fn submit(visit: GuestVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    if !is_open(&visit, &fields).await? {
        let layout = visit.bare_layout();
        let detail = "This link is not valid, or no longer valid.";
        let form_errors = FormErrors(vec![FieldError::new("main", detail)]);
        let page = SetupPage { layout, open: false, fields, form_errors };
        return visit.page_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    let password: SecretString = fields.get("password").into();
    let [organization, name, email] = ["organization", "name", "email"].map(|field| fields.get(field));
    let refused = |errors, fields: &Fields| {
        let (fields, form_errors) = (fields.clone(), FormErrors(errors));
        let layout = visit.bare_layout();
        visit.page_with_status(
            StatusCode::UNPROCESSABLE_ENTITY,
            &SetupPage { layout, open: true, fields, form_errors },
        )
    };
    let parsed = OrgSetup::parse(organization, name, email);
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
    let now = visit.now;
    let (keyring, token, source) =
        (visit.site.defaults.keyring.clone(), fields.get("token").to_owned(), visit.source());
    let made = visit.site.db.write(move |tx| {
        // Of two simultaneous submissions, one wins.
        if !installation::accepts(tx.conn, &keyring, &token)? {
            return Err(Error::Forbidden);
        }
        set_up.first(tx, &hashed, SetupActor::Link(source.clone()), now)
    });
    let (org, owner) = made.await?;
    session::sign_in(&visit.request, &owner, now);
    Ok(visit.redirect_with(path::keys(&org.slug), format!("{} is set up. Create your first key.", org.name)))
}

async fn is_open(visit: &GuestVisit, fields: &Fields) -> Result<bool, Problem> {
    let (keyring, token) = (visit.site.defaults.keyring.clone(), fields.get("token").to_owned());
    visit.read(move |conn| installation::accepts(conn, &keyring, &token)).await
}
