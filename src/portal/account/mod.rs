//! The account page: profile, sign-in methods, sessions and recent activity.

pub mod email;
mod events;
pub mod methods;
pub mod notices;
pub mod password;
pub mod sessions;

use actix_web::HttpResponse;
use askama::Template;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::audit::entry::EntryBody;
use crate::audit::event::{Change, Event};
use crate::audit::list;
use crate::email as email_address;
use crate::error::FieldError;
use crate::id::{MethodId, SessionId};
use crate::orgs::account_log;
use crate::path;
use crate::people;
use crate::people::credential::PASSWORD;
use crate::people::links::Link;
use crate::people::methods::Method;
use crate::people::oauth::Kind;
use crate::people::sessions::OpenSession;
use crate::people::store::check_person_name;
use crate::portal::account::events::ActivityRow;
use crate::portal::entrance::provider;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::AccountVisit;
use crate::time::Time;
use crate::web::device;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection};
use crate::web::problem::Problem;
use crate::web::providers::{self, ProviderLink};
use crate::web::{Shared, session};

/// The number of events shown.
const EVENTS: usize = 10;

#[derive(Template)]
#[template(path = "portal/account/show.html")]
struct AccountPage {
    layout: Layout,
    name: String,
    email: String,
    /// The date on which the address was confirmed.
    verified: Option<String>,
    /// The address that awaits confirmation, and the deadline.
    pending: Option<(String, String)>,
    zone: String,
    zones: Vec<String>,
    roles: Vec<(String, &'static str)>,
    has_password: bool,
    methods: Vec<MethodRow>,
    /// The providers that are not connected yet.
    connectable: Vec<ProviderLink>,
    sessions: Vec<SessionRow>,
    events: Vec<ActivityRow>,
    form_errors: FormErrors,
}

struct MethodRow {
    id: MethodId,
    icon: &'static str,
    name: String,
    label: String,
    since: String,
    used: Option<When>,
    is_password: bool,
}

struct SessionRow {
    id: SessionId,
    icon: &'static str,
    device: String,
    address: String,
    opened: String,
    seen: When,
    is_this: bool,
}

struct Found {
    methods: Vec<Method>,
    sessions: Vec<OpenSession>,
    entries: Vec<EntryBody>,
    pending: Option<Link>,
}

/// `GET /account`.
pub async fn show(visit: AccountVisit) -> Result<HttpResponse, Problem> {
    page(&visit, None, FormErrors::default()).await
}

/// `POST /account`: saves name and zone.
pub async fn save(visit: AccountVisit, fields: Fields) -> Result<HttpResponse, Problem> {
    let person = visit.person.clone();
    let sent = |field: &str, known: &str| match fields.has(field) {
        true => fields.get(field).trim().to_owned(),
        false => known.to_owned(),
    };
    let name = sent("name", &person.name);
    let zone = sent("zone", person.zone.as_deref().unwrap_or("UTC"));
    let mut wrong = Vec::new();
    // A name from before these checks stays until it is changed.
    let checked = if name == person.name { Ok(name.clone()) } else { check_person_name(&name) };
    let checked = checked.map_err(|error| wrong.push(error)).unwrap_or_default();
    if TimeZone::get(&zone).is_err() || zone.len() > 64 {
        wrong.push(FieldError::new("zone", "Choose a time zone from the list."));
    }
    if !wrong.is_empty() {
        return page(&visit, Some((name, zone)), FormErrors(wrong)).await;
    }
    let name = checked;
    visit
        .change(move |tx, holder| {
            let mut changes = Vec::new();
            if person.name != name {
                people::store::set_name(tx, person.id, &name)?;
                // The log contains ids of people, not names.
                changes.push(Change { field: "name".into(), before: Value::Null, after: Value::Null });
            }
            if person.zone.as_deref() != Some(&zone) {
                people::store::set_zone(tx, person.id, &zone)?;
                changes.push(Change { field: "zone".into(), before: json!(person.zone), after: json!(zone) });
            }
            if changes.is_empty() {
                return Ok(());
            }
            account_log::append(tx, holder, &Event::PersonUpdated { changes })
        })
        .await?;
    Ok(visit.redirect_with(path::account(), "Your profile was saved."))
}

/// `typed`: the name and the zone of a form with errors.
async fn page(
    visit: &AccountVisit,
    typed: Option<(String, String)>,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (person, now, tz) = (&visit.person, visit.now, visit.zone.clone());
    let (id, orgs) = (person.id, visit.orgs.iter().map(|(org, _)| org.id).collect::<Vec<_>>());
    let reader = person.clone();
    let found = visit
        .read(move |conn| {
            let mut entries = Vec::new();
            for org in &orgs {
                entries.extend(list::latest_about(conn, *org, &id.to_string(), 2 * EVENTS as i64)?);
            }
            let methods = people::methods::of_person(conn, id)?;
            let sessions = people::sessions::open_of(conn, id, now)?;
            let pending = people::address::pending(conn, &reader, now)?;
            Ok(Found { methods, sessions, entries, pending })
        })
        .await?;
    let (name, zone) = typed.unwrap_or_else(|| (person.name.clone(), person.zone_name()));
    let this = session::id(&visit.session());
    let connected = |kind: Kind, issuer: &str| {
        found.methods.iter().any(|own| own.kind == kind.name() && own.issuer == issuer)
    };
    let open = visit.site.providers.all().filter(|provider| !connected(provider.kind(), provider.issuer()));
    let view = AccountPage {
        layout: visit.layout(NavSection::Account),
        name,
        email: person.email.clone(),
        verified: person.email_verified_at.map(|at| format::date(at, &tz)),
        pending: found
            .pending
            .map(|link| (email_address::shown(&link.email), format::date_time(link.ends_at, &tz))),
        zone,
        zones: zones(),
        roles: visit.orgs.iter().map(|(org, role)| (org.name.clone(), role.name())).collect(),
        has_password: found.methods.iter().any(|method| method.kind == PASSWORD),
        connectable: open
            .map(|provider| ProviderLink::new(provider, provider::connect_link(visit, provider.id())))
            .collect(),
        methods: found.methods.iter().map(|method| method_row(method, &visit.site, now, &tz)).collect(),
        sessions: found
            .sessions
            .into_iter()
            .map(|open| SessionRow {
                icon: device::icon(&open.program),
                device: device::words(&open.program),
                address: open.address,
                opened: format::date_time(open.created_at, &tz),
                seen: When::past(open.seen_at, now, &tz),
                is_this: Some(open.id) == this,
                id: open.id,
            })
            .collect(),
        events: events::latest(found.entries, person.id, EVENTS, now, &tz),
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}

fn method_row(method: &Method, site: &Shared, now: Time, tz: &TimeZone) -> MethodRow {
    let provider = site.providers.of_identity(&method.kind, &method.issuer);
    let is_password = method.kind == PASSWORD;
    let (name, icon) = match provider {
        _ if is_password => ("Password".to_owned(), "key-round"),
        Some(provider) => (provider.name().to_owned(), providers::icon(provider.kind())),
        // The configuration named another provider when it was connected.
        None => (method.issuer.clone(), "unplug"),
    };
    MethodRow {
        id: method.id,
        icon,
        name,
        label: method.label.clone(),
        since: format::date(if is_password { method.updated_at } else { method.created_at }, tz),
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
