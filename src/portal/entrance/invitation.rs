//! The page behind the link of an invitation: every way to sign in, then "Accept".

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use askama::Template;
use secrecy::SecretString;

use crate::error::{Error, FieldError};
use crate::orgs::invitation::{self, Invitation};
use crate::path;
use crate::people::password::{self, NewPassword};
use crate::people::store::{self, Profile};
use crate::portal::kit::words;
use crate::time::Time;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::{Shared, session};

#[derive(Template)]
#[template(path = "portal/entrance/invitation.html")]
struct InvitationPage {
    layout: Layout,
    /// `None` for every link that does not count, so that all of them are answered alike.
    open: Option<Open>,
    complaints: Complaints,
}

/// An invitation that counts, for whoever looks at it.
struct Open {
    token: String,
    org: String,
    invited_by: String,
    email: String,
    role: String,
    ends: String,
    reader: Reader,
    name: String,
    /// The providers by which they can sign in or become known.
    providers: Vec<ProviderLink>,
}

/// Who looks at it.
enum Reader {
    /// Nobody signed in.
    Stranger,
    /// The person to whom it was sent.
    Invited,
    /// Someone else, with this address.
    Other(String),
}

/// `GET /invitations/{token}`.
pub async fn show(
    request: HttpRequest,
    site: Shared,
    token: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let invitation = find(&site, &token).await?;
    page(&request, &token, invitation, &Fields::default(), Vec::new())
}

/// `POST /invitations/{token}`: makes an account for the address, and signs in. Accepting is
/// another step, the same for every way to sign in.
pub async fn sign_up(
    request: HttpRequest,
    site: Shared,
    token: web::Path<String>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let Some(invitation) = find(&site, &token).await? else {
        return page(&request, &token, None, &fields, Vec::new());
    };
    let password: SecretString = fields.get("password").into();
    let profile = Profile::parse(fields.get("name"), &invitation.email);
    let mut errors = profile.as_ref().err().cloned().unwrap_or_default();
    let context = [invitation.org.name.as_str(), fields.get("name"), &invitation.email];
    errors.extend(password::check_length("password", &password).err());
    let (Ok(profile), true) = (profile, errors.is_empty()) else {
        return page(&request, &token, Some(invitation), &fields, errors);
    };
    let password = match NewPassword::check("password", password, &context).await {
        Ok(password) => password,
        Err(Error::Invalid(errors)) => return page(&request, &token, Some(invitation), &fields, errors),
        Err(other) => return Err(other.into()),
    };
    let hashed = password::hash(password).await?;
    let zone = zone(&fields);
    let (now, keyring, link) = (Time::now(), site.mint.keyring.clone(), token.to_string());
    let made = site.db.write(move |tx| {
        // Looked at again where it counts: it may have been withdrawn meanwhile.
        if invitation::open(tx.conn, &keyring, &link, now)?.is_none() {
            return Err(Error::NotFound);
        }
        let person = store::insert(tx, &profile, zone.as_deref(), &hashed, now)?;
        // The link came by mail to this address and to no other.
        store::set_verified(tx, person.id, now)?;
        Ok(person)
    });
    match made.await {
        Ok(person) => {
            session::sign_in(&request, &person, now);
            Ok(redirect(&request, &path::invitation(&token)))
        }
        Err(Error::Conflict(_)) => {
            let known = "There is an account with this address. Sign in to accept the invitation.";
            page(&request, &token, Some(invitation), &fields, vec![FieldError::new("sign-in", known)])
        }
        Err(Error::NotFound) => page(&request, &token, None, &fields, Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// `POST /invitations/{token}/accept`.
pub async fn accept(
    request: HttpRequest,
    site: Shared,
    token: web::Path<String>,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let signed_in = request.extensions().get::<SignedIn>().cloned();
    let Some(signed_in) = signed_in else {
        return Ok(redirect(&request, &path::invitation(&token)));
    };
    let Some(invitation) = find(&site, &token).await? else {
        return page(&request, &token, None, &Fields::default(), Vec::new());
    };
    let (id, zone) = (invitation.id, zone(&fields));
    let change = signed_in.change(&request, Time::now());
    let accepted = change.commit(&site.db, move |tx, holder| {
        let person = &signed_in.person;
        // A provider tells no zone, so that who came by one has none yet.
        if let (None, Some(zone)) = (&person.zone, &zone) {
            store::set_zone(tx, person.id, zone)?;
        }
        invitation::accept(tx, holder, id)
    });
    match accepted.await {
        Ok(org) => {
            session::flash(&request.get_session(), &format!("You belong to {} now.", org.name));
            Ok(redirect(&request, &path::keys(&org.slug)))
        }
        Err(Error::Forbidden) => {
            let other = "You are signed in with another address. The invitation stays open.";
            let errors = vec![FieldError::new("main", other)];
            page(&request, &token, Some(invitation), &Fields::default(), errors)
        }
        Err(Error::NotFound) => page(&request, &token, None, &Fields::default(), Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// The zone that the browser tells.
fn zone(fields: &Fields) -> Option<String> {
    let name = fields.get("zone");
    jiff::tz::TimeZone::get(name).ok().map(|_| name.to_owned())
}

async fn find(site: &Shared, token: &str) -> Result<Option<Invitation>, Problem> {
    let (keyring, token, now) = (site.mint.keyring.clone(), token.to_owned(), Time::now());
    Ok(site.db.read(move |conn| invitation::open(conn, &keyring, &token, now)).await?)
}

fn page(
    request: &HttpRequest,
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
    let signed_in = request.extensions().get::<SignedIn>().map(|signed_in| signed_in.person.clone());
    let zone = signed_in.as_ref().map_or(jiff::tz::TimeZone::UTC, |person| person.time_zone());
    let open = invitation.map(|invitation| Open {
        token: token.to_owned(),
        reader: match signed_in {
            None => Reader::Stranger,
            Some(person) if person.has_address(&invitation.email) => Reader::Invited,
            Some(person) => Reader::Other(person.email),
        },
        org: invitation.org.name,
        invited_by: invitation.invited_by,
        role: invitation.role.with_article(),
        ends: format!(
            "{} {}",
            words::date_time(invitation.ends_at, &zone),
            zone.iana_name().unwrap_or("UTC")
        ),
        email: invitation.email,
        name: fields.get("name").to_owned(),
        providers: request
            .app_data::<Shared>()
            .map(|site| providers::to_sign_in(site, &path::invitation(token)))
            .unwrap_or_default(),
    });
    let layout = Layout { person: None, org: None, ..Layout::of(request, Room::None) };
    let layout = if open.is_some() { layout.with_flash(request) } else { layout };
    html(status, &InvitationPage { layout, open, complaints: Complaints(errors) })
}
