//! A key's page: everything but its secret.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::Error;
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::secret_store::{self, SecretUse};
use crate::keys::{Key, Status, store};
use crate::path;
use crate::people;
use crate::portal::keys::Rights;
use crate::portal::keys::limits::panel::Bounds;
use crate::portal::keys::notices::Notices;
use crate::portal::keys::rotation::progress::{self, Cockpit};
use crate::portal::kit::words::{self, Badge, When};
use crate::role::Act;
use crate::time::Time;
use crate::usage::recent::CallerUse;
use crate::usage::{self};
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::{Member, SignedIn};
use crate::web::problem::Problem;

const CALLERS: usize = 20;

#[derive(Template)]
#[template(path = "portal/keys/show.html")]
struct KeyPage {
    layout: Layout,
    org: Place,
    key: Key,
    badge: Badge,
    status: Status,
    created: String,
    created_by: String,
    expires: String,
    last_used: Option<When>,
    revoked: Option<Ended>,
    scopes: Vec<(String, String)>,
    requests: i64,
    callers: Vec<CallerRow>,
    secrets: Vec<SecretRow>,
    cockpit: Option<Cockpit>,
    /// What the reader may do to it.
    rights: Rights,
    bounds: Bounds,
    zone: String,
    counted_to: String,
    notices: Notices,
}

struct Ended {
    at: String,
    by: String,
    reason: Option<String>,
    calls_after: i64,
}

/// A row of the table of callers, shared with the page for revoking.
pub struct CallerRow {
    /// The address.
    pub address: String,
    /// The program.
    pub program: String,
    /// Its requests.
    pub requests: String,
    /// The latest.
    pub last: When,
}

struct SecretRow {
    hint: String,
    created: String,
    state: String,
    first_used: Option<When>,
    last_used: Option<When>,
    by: Option<String>,
}

impl CallerRow {
    /// Of a caller, for a reader in that zone.
    pub fn new(caller: &CallerUse, now: Time, zone: &jiff::tz::TimeZone) -> CallerRow {
        CallerRow {
            address: caller.address.clone(),
            program: caller.program.clone(),
            requests: words::number(caller.requests),
            last: When::past(caller.last_at, now, zone),
        }
    }
}

/// `GET /keys/{id}`: the link of mails, without the organisation.
pub async fn deep_link(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (org, key) = super::find_anywhere(&site, &signed_in, &id).await?;
    Ok(redirect(&request, &path::key(&org.slug, &key.id)))
}

/// `GET /keys/{id}/rotate`: the button of mails before a key ends.
pub async fn deep_rotate_link(
    request: HttpRequest,
    signed_in: SignedIn,
    site: Shared,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (org, key) = super::find_anywhere(&site, &signed_in, &id).await?;
    Ok(redirect(&request, &path::key_rotate(&org.slug, &key.id)))
}

/// `GET /o/{org}/keys/{id}`.
pub async fn show(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = super::find(&site, &member, &path.1).await?;
    let (org, id, zone) = (member.org.id, key.id, member.person.time_zone());
    let ended_at =
        key.revoked.as_ref().map(|revoked| revoked.at).or(key.expires_at.filter(|end| *end <= now));
    let names = [Some(key.created_by.clone()), key.revoked.as_ref().map(|revoked| revoked.by.clone())];
    let rotating = key.rotation(now).map(|old| (key.clone(), old.clone()));
    if rotating.is_some() {
        // What was called until now counts.
        usage::flush(&site.meter, &site.db, now).await?;
    }
    let found = site.db.read(move |conn| {
        let rotation = match &rotating {
            Some((key, old)) => Some(progress::find(conn, key, old, now)?),
            None => None,
        };
        let by_scope = usage::recent::last_day_by_scope(conn, org, id, now)?;
        let callers = usage::recent::callers_of_last_day(conn, org, id, now, CALLERS)?;
        let secrets = secret_store::uses(conn, org, id)?;
        // Calls of the hour in which the key ended may have been before its end.
        let calls_after = match ended_at {
            Some(at) => usage::recent::requests_since(conn, org, id, at.plus(crate::time::HOUR))?,
            None => 0,
        };
        let mut actors = Vec::new();
        for name in names.into_iter().flatten() {
            actors.push(actor(conn, org, &name)?);
        }
        Ok((by_scope, callers, secrets, calls_after, actors, rotation))
    });
    let (by_scope, callers, secrets, calls_after, mut actors, rotation) = found.await?;
    let (about, reader_zone) = (key.clone(), zone.clone());
    let has_server = site.post.sender.has_server();
    let notices = site.db.read(move |conn| Notices::of(conn, &about, has_server, now, &reader_zone)).await?;
    let revoked = key.revoked.as_ref().map(|revoked| Ended {
        at: words::date_time(revoked.at, &zone),
        by: actors.pop().unwrap_or_default(),
        reason: revoked.reason.clone(),
        calls_after,
    });
    let rights = Rights::of(&site, &member, &key).await?;
    let view = KeyPage {
        layout: Layout::of(&request, Room::Keys).with_flash(&request),
        org: Place::of(&member.org),
        badge: Badge::of(key.status(now)),
        status: key.status(now),
        created: words::date_time(key.created_at, &zone),
        created_by: actors.pop().unwrap_or_default(),
        expires: expires(&key, now, &zone),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        revoked,
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        scopes: by_scope
            .iter()
            .map(|(scope, requests)| (scope_name(scope), words::number(*requests)))
            .collect(),
        callers: callers.iter().map(|caller| CallerRow::new(caller, now, &zone)).collect(),
        secrets: secrets.iter().map(|secret| SecretRow::new(secret, now, &zone)).collect(),
        cockpit: rotation.map(|found| Cockpit::new(&member, &key, rights, found, now)),
        rights,
        bounds: Bounds::load(&site, &member, &key, now).await?,
        zone: member.person.zone_name(),
        counted_to: words::clock(now, &zone),
        notices,
        key,
    };
    html(StatusCode::OK, &view)
}

/// Whoever did something, for people: a name where there is one.
pub(super) fn actor(conn: &mut crate::db::Conn, org: OrgId, text: &str) -> Result<String, Error> {
    if let Some(id) = UserId::parse(text) {
        return Ok(people::store::find(conn, id)?.map_or_else(|| text.to_owned(), |person| person.name));
    }
    if let Some(id) = KeyId::parse(text) {
        return Ok(store::find(conn, org, id)?
            .map_or_else(|| text.to_owned(), |key| format!("the key {}", key.name)));
    }
    Ok(if text == "system:cli" { "the command line".to_owned() } else { text.to_owned() })
}

fn expires(key: &Key, now: Time, zone: &jiff::tz::TimeZone) -> String {
    match key.expires_at {
        None => "never".to_owned(),
        Some(end) if end <= now => {
            format!("{} ({})", words::date_time(end, zone), When::past(end, now, zone).words)
        }
        Some(end) => format!("{} ({})", words::date_time(end, zone), When::ahead(end, now, zone).words),
    }
}

/// A scope's name in a table of requests.
pub fn scope_name(scope: &str) -> String {
    if scope.is_empty() { "no scope needed".to_owned() } else { scope.to_owned() }
}

impl SecretRow {
    fn new(secret: &SecretUse, now: Time, zone: &jiff::tz::TimeZone) -> SecretRow {
        let by = secret.last_address.as_ref().map(|address| match &secret.last_program {
            Some(program) => format!("{program} at {address}"),
            None => address.clone(),
        });
        let state = match (secret.superseded_at, secret.ends_at) {
            (Some(_), Some(end)) if end > now => format!("until {}", words::date_time(end, zone)),
            (Some(_), Some(end)) => format!("ended {}", words::date_time(end, zone)),
            _ => "current".to_owned(),
        };
        SecretRow {
            hint: format!("…{}", secret.last4),
            state,
            created: words::date_time(secret.created_at, zone),
            first_used: secret.first_used_at.map(|at| When::past(at, now, zone)),
            last_used: secret.last_used_at.map(|at| When::past(at, now, zone)),
            by,
        }
    }
}

impl KeyPage {
    fn limit(&self) -> String {
        let networks: Vec<String> = self.key.allowed_ips.iter().map(ToString::to_string).collect();
        let rate = format!("{} a minute", words::number(self.key.requests_per_minute.into()));
        if networks.is_empty() { rate } else { format!("{rate}, from {}", networks.join(", ")) }
    }

    fn owner(&self) -> String {
        match &self.key.backup {
            Some(backup) => format!("{}, backup {}", self.key.owner.name, backup.name),
            None => self.key.owner.name.clone(),
        }
    }
}
