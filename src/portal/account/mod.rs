//! The account page: profile, ways to sign in, sessions, and what happened to the account.

pub mod email;
mod events;
pub mod methods;
pub mod notices;
pub mod password;
pub mod sessions;

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::audit::about;
use crate::audit::entry::Said;
use crate::audit::event::{Change, Event};
use crate::email as email_address;
use crate::error::FieldError;
use crate::id::{MethodId, SessionId};
use crate::orgs::journal;
use crate::path;
use crate::people;
use crate::people::links::Link;
use crate::people::methods::Method;
use crate::people::oauth::Kind;
use crate::people::sessions::Open;
use crate::people::store::{PASSWORD, Profile};
use crate::portal::account::events::Happened;
use crate::portal::entrance::provider;
use crate::portal::kit::words::{self, When};
use crate::time::Time;
use crate::web::device;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Room, html, redirect};
use crate::web::principal::SignedIn;
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::{Shared, session};

/// How many of the latest events are shown.
const EVENTS: usize = 10;

#[derive(Template)]
#[template(path = "portal/account/show.html")]
struct AccountPage {
    layout: Layout,
    name: String,
    email: String,
    /// Since when the address is known to be the person's.
    verified: Option<String>,
    /// The address that waits for its confirmation, and until when.
    pending: Option<(String, String)>,
    zone: String,
    zones: Vec<String>,
    roles: Vec<(String, &'static str)>,
    has_password: bool,
    methods: Vec<MethodRow>,
    /// The providers that are not connected yet.
    connectable: Vec<ProviderLink>,
    sessions: Vec<SessionRow>,
    events: Vec<Happened>,
    complaints: Complaints,
}

/// A way to sign in.
struct MethodRow {
    id: MethodId,
    icon: &'static str,
    name: String,
    label: String,
    since: String,
    used: Option<When>,
    is_password: bool,
}

/// An open session.
struct SessionRow {
    id: SessionId,
    icon: &'static str,
    device: String,
    address: String,
    opened: String,
    seen: When,
    is_this: bool,
}

/// What the page shows besides the person.
struct Found {
    methods: Vec<Method>,
    sessions: Vec<Open>,
    entries: Vec<Said>,
    pending: Option<Link>,
}

/// `GET /account`.
pub async fn show(request: HttpRequest, signed_in: SignedIn, site: Shared) -> Result<HttpResponse, Problem> {
    let layout = Layout::of(&request, Room::Account).with_flash(&request);
    let page = page(layout, &request, &signed_in, &site, None, Complaints::default()).await?;
    html(StatusCode::OK, &page)
}

/// `POST /account`: saves name and zone.
pub async fn save(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let person = signed_in.person.clone();
    let sent = |field: &str, known: &str| match fields.has(field) {
        true => fields.get(field).trim().to_owned(),
        false => known.to_owned(),
    };
    let name = sent("name", &person.name);
    let zone = sent("zone", person.zone.as_deref().unwrap_or("UTC"));
    let mut wrong = Profile::parse(&name, &person.email).err().unwrap_or_default();
    wrong.retain(|error| error.field == "name");
    if TimeZone::get(&zone).is_err() || zone.len() > 64 {
        wrong.push(FieldError::new("zone", "Choose a time zone from the list."));
    }
    if !wrong.is_empty() {
        let layout = Layout::of(&request, Room::Account);
        let page = page(layout, &request, &signed_in, &site, Some((name, zone)), Complaints(wrong)).await?;
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    signed_in
        .change(&request, Time::now())
        .commit(&site.db, move |tx, holder| {
            let mut changes = Vec::new();
            if person.name != name {
                people::store::set_name(tx, person.id, &name)?;
                // Names stay out of the log: a person is known by id.
                changes.push(Change { field: "name".into(), before: Value::Null, after: Value::Null });
            }
            if person.zone.as_deref() != Some(&zone) {
                people::store::set_zone(tx, person.id, &zone)?;
                changes.push(Change { field: "zone".into(), before: json!(person.zone), after: json!(zone) });
            }
            if changes.is_empty() {
                return Ok(());
            }
            journal::note(tx, holder, &Event::PersonUpdated { changes })
        })
        .await?;
    session::flash(&request.get_session(), "Your profile was saved.");
    Ok(redirect(&request, &path::account()))
}

async fn page(
    layout: Layout,
    request: &HttpRequest,
    signed_in: &SignedIn,
    site: &Shared,
    typed: Option<(String, String)>,
    complaints: Complaints,
) -> Result<AccountPage, Problem> {
    let (person, now, tz) = (&signed_in.person, Time::now(), signed_in.person.time_zone());
    let (id, orgs) = (person.id, signed_in.orgs.iter().map(|(org, _)| org.id).collect::<Vec<_>>());
    let reader = person.clone();
    let found = site
        .db
        .read(move |conn| {
            let mut entries = Vec::new();
            for org in &orgs {
                entries.extend(about::latest(conn, *org, &id.to_string(), 2 * EVENTS as i64)?);
            }
            let methods = people::methods::of_person(conn, id)?;
            let sessions = people::sessions::open_of(conn, id, now)?;
            let pending = people::address::pending(conn, &reader, now)?;
            Ok(Found { methods, sessions, entries, pending })
        })
        .await?;
    let (name, zone) = typed.unwrap_or_else(|| (person.name.clone(), person.zone_name()));
    let this = session::id(&request.get_session());
    let connected = |kind: Kind, issuer: &str| {
        found.methods.iter().any(|own| own.kind == kind.name() && own.issuer == issuer)
    };
    let open = site.providers.all().filter(|provider| !connected(provider.kind(), provider.issuer()));
    Ok(AccountPage {
        layout,
        name,
        email: person.email.clone(),
        verified: person.email_verified_at.map(|at| words::date(at, &tz)),
        pending: found
            .pending
            .map(|link| (email_address::shown(&link.email), words::date_time(link.ends_at, &tz))),
        zone,
        zones: zones(),
        roles: signed_in.orgs.iter().map(|(org, role)| (org.name.clone(), role.name())).collect(),
        has_password: found.methods.iter().any(|method| method.kind == PASSWORD),
        connectable: open
            .map(|provider| {
                ProviderLink::new(provider, provider::connect_link(request, site, provider.kind()))
            })
            .collect(),
        methods: found.methods.iter().map(|method| method_row(method, site, now, &tz)).collect(),
        sessions: found
            .sessions
            .into_iter()
            .map(|open| SessionRow {
                icon: device::icon(&open.program),
                device: device::words(&open.program),
                address: open.address,
                opened: words::date_time(open.created_at, &tz),
                seen: When::past(open.seen_at, now, &tz),
                is_this: Some(open.id) == this,
                id: open.id,
            })
            .collect(),
        events: events::latest(found.entries, person.id, EVENTS, now, &tz),
        complaints,
    })
}

fn method_row(method: &Method, site: &Shared, now: Time, tz: &TimeZone) -> MethodRow {
    let provider = Kind::parse(&method.kind).and_then(|kind| site.providers.get(kind));
    let provider = provider.filter(|provider| provider.issuer() == method.issuer);
    let is_password = method.kind == PASSWORD;
    let (name, icon) = match provider {
        _ if is_password => ("Password".to_owned(), "key-round"),
        Some(provider) => (provider.name().to_owned(), providers::icon(provider.kind())),
        // Connected while the configuration named another provider.
        None => (method.issuer.clone(), "unplug"),
    };
    MethodRow {
        id: method.id,
        icon,
        name,
        label: method.label.clone(),
        since: words::date(if is_password { method.updated_at } else { method.created_at }, tz),
        used: method.used_at.map(|at| When::past(at, now, tz)),
        is_password,
    }
}

fn zones() -> Vec<String> {
    let mut zones: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    zones.retain(|name| {
        name == "UTC" || (name.contains('/') && !name.starts_with("Etc/") && !name.starts_with("posix"))
    });
    zones.sort();
    zones
}
