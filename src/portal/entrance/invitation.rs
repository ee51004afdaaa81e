//! The page of an invitation: all sign-in methods, then "Accept".

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use askama::Template;
use secrecy::SecretString;

use crate::error::{Error, FieldError};
use crate::orgs::invitation::{self, Invitation};
use crate::path;
use crate::people::methods;
use crate::people::password::{self, NewPassword};
use crate::people::store::{self, Profile};
use crate::portal::kit::format;
use crate::portal::kit::visit::GuestVisit;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::Layout;
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::session;

#[derive(Template)]
#[template(path = "portal/entrance/invitation.html")]
struct InvitationPage {
    layout: Layout,
    /// `None` for every invalid link, whatever the reason.
    open: Option<Open>,
    form_errors: FormErrors,
}

/// A valid invitation.
struct Open {
    token: String,
    org: String,
    invited_by: String,
    email: String,
    role: String,
    ends: String,
    reader: Reader,
    name: String,
    /// The providers for signing in or up.
    providers: Vec<ProviderLink>,
}

/// The visitor of the page.
enum Reader {
    /// Not signed in.
    Stranger,
    /// The invited person.
    Invited,
    /// Another person, with this address.
    Other(String),
}

/// `GET /invitations/{token}`.
pub async fn show(visit: GuestVisit, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let invitation = find(&visit, &token).await?;
    page(&visit, &token, invitation, &Fields::default(), Vec::new())
}

/// `POST /invitations/{token}`: creates an account for the address, and signs in. Accepting is a
/// separate step, the same for every sign-in method.
pub async fn sign_up(
    visit: GuestVisit,
    token: web::Path<String>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let Some(invitation) = find(&visit, &token).await? else {
        return page(&visit, &token, None, &fields, Vec::new());
    };
    let password: SecretString = fields.get("password").into();
    let profile = Profile::parse(fields.get("name"), &invitation.email);
    let mut errors = profile.as_ref().err().cloned().unwrap_or_default();
    let context = [invitation.org.name.as_str(), fields.get("name"), &invitation.email];
    errors.extend(password::check_length("password", &password).err());
    let (Ok(profile), true) = (profile, errors.is_empty()) else {
        return page(&visit, &token, Some(invitation), &fields, errors);
    };
    let password = match NewPassword::check("password", password, &context).await {
        Ok(password) => password,
        Err(Error::Invalid(errors)) => {
            return page(&visit, &token, Some(invitation), &fields, errors);
        }
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(password).await?;
    let zone = zone(&fields);
    let (now, keyring, link) = (visit.now, visit.site.defaults.keyring.clone(), token.to_string());
    let made = visit.site.db.write(move |tx| {
        // It may have been withdrawn in the meantime.
        if invitation::open(tx.conn, &keyring, &link, now)?.is_none() {
            return Err(Error::NotFound);
        }
        let person = methods::insert_person(tx, &profile, zone.as_deref(), &hashed, now)?;
        // The link was e-mailed to this address only.
        store::set_verified(tx, person.id, now)?;
        Ok(person)
    });
    match made.await {
        Ok(person) => {
            session::sign_in(&visit.request, &person, now);
            Ok(visit.redirect(path::invitation(&token)))
        }
        Err(Error::Conflict(_)) => {
            let known = "An account with this address already exists. Sign in to accept the invitation.";
            page(&visit, &token, Some(invitation), &fields, vec![FieldError::new("sign-in", known)])
        }
        Err(Error::NotFound) => page(&visit, &token, None, &fields, Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// `POST /invitations/{token}/accept`.
pub async fn accept(
    visit: GuestVisit,
    token: web::Path<String>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let Some(account) = visit.account() else {
        return Ok(visit.redirect(path::invitation(&token)));
    };
    let Some(invitation) = find(&visit, &token).await? else {
        return page(&visit, &token, None, &Fields::default(), Vec::new());
    };
    let (id, zone) = (invitation.id, zone(&fields));
    let person = account.person.clone();
    let accepted = account.change(move |tx, holder| {
        // An account made through a provider has no zone yet.
        if let (None, Some(zone)) = (&person.zone, &zone) {
            store::set_zone(tx, person.id, zone)?;
        }
        invitation::accept(tx, holder, id)
    });
    match accepted.await {
        Ok(org) => Ok(visit.redirect_with(path::keys(&org.slug), format!("Welcome to {}.", org.name))),
        Err(Error::Forbidden) => {
            let other = "You are signed in with another address. The invitation stays open.";
            let errors = vec![FieldError::new("main", other)];
            page(&visit, &token, Some(invitation), &Fields::default(), errors)
        }
        Err(Error::NotFound) => page(&visit, &token, None, &Fields::default(), Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// The zone that the browser sends.
fn zone(fields: &Fields) -> Option<String> {
    let name = fields.get("zone");
    jiff::tz::TimeZone::get(name).ok().map(|_| name.to_owned())
}

async fn find(visit: &GuestVisit, token: &str) -> Result<Option<Invitation>, Problem> {
    let (keyring, token, now) = (visit.site.defaults.keyring.clone(), token.to_owned(), visit.now);
    visit.read(move |conn| invitation::open(conn, &keyring, &token, now)).await
}

fn page(
    visit: &GuestVisit,
    token: &str,
    invitation: Option<Invitation>,
    fields: &Fields,
    errors: Vec<FieldError>,
) -> Result<HttpResponse, Problem> {
    let status = match (&invitation, errors.is_empty()) {
        (None, _) => StatusCode::NOT_FOUND,
        (Some(_), true) => StatusCode::OK,
        (Some(_), false) => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let person = visit.signed_in.as_ref().map(|signed_in| signed_in.person.clone());
    let zone = &visit.zone;
    let open = invitation.map(|invitation| Open {
        token: token.to_owned(),
        reader: match person {
            None => Reader::Stranger,
            Some(person) if person.has_address(&invitation.email) => Reader::Invited,
            Some(person) => Reader::Other(person.email),
        },
        org: invitation.org.name,
        invited_by: invitation.invited_by,
        role: invitation.role.with_article(),
        ends: format!(
            "{} {}",
            format::date_time(invitation.ends_at, zone),
            zone.iana_name().unwrap_or("UTC")
        ),
        email: invitation.email,
        name: fields.get("name").to_owned(),
        providers: providers::to_sign_in(&visit.site, &path::invitation(token)),
    });
    let layout = visit.bare_layout();
    visit.page_with_status(status, &InvitationPage { layout, open, form_errors: FormErrors(errors) })
}
