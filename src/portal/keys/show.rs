//! The page of a key: everything but its secret.

use actix_web::{HttpResponse, web};
use askama::Template;

use crate::db::Conn;
use crate::error::Error;
use crate::keys::secret_store::{self, SecretUse};
use crate::keys::{Key, Status};
use crate::path;
use crate::portal::keys::clients::{CallerRow, actor};
use crate::portal::keys::limits::panel::{self, LimitsPanel};
use crate::portal::keys::notices::{self, Notices};
use crate::portal::keys::rotation::progress::{self, RotationPanel};
use crate::portal::keys::{RequestedKey, Rights};
use crate::portal::kit::format::{self, Badge, When};
use crate::portal::kit::models;
use crate::portal::kit::visit::{AccountVisit, Visit};
use crate::role::Act;
use crate::time::{HOUR, Time};
use crate::usage;
use crate::usage::recent::CallerUse;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

const CALLERS: usize = 20;

#[derive(Template)]
#[template(path = "portal/keys/show.html")]
struct KeyPage {
    layout: Layout,
    org: OrgLink,
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
    rotation_panel: Option<RotationPanel>,
    /// What the visitor may do.
    rights: Rights,
    limits: LimitsPanel,
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

struct SecretRow {
    hint: String,
    created: String,
    state: String,
    first_used: Option<When>,
    last_used: Option<When>,
    by: Option<String>,
}

/// `GET /keys/{id}`: the link in e-mails, without the organisation.
pub async fn deep_link(visit: AccountVisit, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (org, key) = super::find_anywhere(&visit, &id).await?;
    Ok(visit.redirect(path::key(&org.slug, &key.id)))
}

/// `GET /keys/{id}/rotate`: the button in expiry notices.
pub async fn deep_rotate_link(visit: AccountVisit, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (org, key) = super::find_anywhere(&visit, &id).await?;
    Ok(visit.redirect(path::key_rotate(&org.slug, &key.id)))
}

/// What the database knows about a key for its page.
struct Found {
    key: Key,
    rights: Rights,
    rotation: Option<progress::Found>,
    by_scope: Vec<(String, i64)>,
    callers: Vec<CallerUse>,
    secrets: Vec<SecretUse>,
    created_by: String,
    /// Empty unless the key is revoked.
    revoked_by: String,
    requests_after_end: i64,
    limits: panel::Found,
    notices: notices::Found,
}

impl Found {
    fn load(conn: &mut Conn, requested: RequestedKey, now: Time) -> Result<Found, Error> {
        let key = requested.find(conn)?;
        let (org, id, revoked) = (key.org, key.id, key.revoked.as_ref());
        let ended_at = revoked.map(|revoked| revoked.at).or(key.expires_at.filter(|end| *end <= now));
        Ok(Found {
            rights: requested.rights(conn, &key)?,
            rotation: key.rotation(now).map(|old| progress::find(conn, &key, old, now)).transpose()?,
            by_scope: usage::recent::last_day_by_scope(conn, org, id, now)?,
            callers: usage::recent::callers_of_last_day(conn, org, id, now, CALLERS)?,
            secrets: secret_store::uses(conn, org, id)?,
            created_by: actor(conn, org, &key.created_by)?,
            revoked_by: match revoked {
                Some(revoked) => actor(conn, org, &revoked.by)?,
                None => String::new(),
            },
            // Requests in the hour in which the key ended may have been before its end.
            requests_after_end: match ended_at {
                Some(at) => usage::recent::requests_since(conn, org, id, at.plus(HOUR))?,
                None => 0,
            },
            limits: panel::Found::load(conn, &key)?,
            notices: notices::Found::load(conn, &key)?,
            key,
        })
    }
}

/// `GET /o/{org}/keys/{id}`.
pub async fn show(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, visit.zone.clone());
    let load = move |conn: &mut Conn| Found::load(conn, requested, now);
    let mut found = visit.read(load).await?;
    if found.rotation.is_some() {
        // The progress of a rotation includes the requests of the last second.
        visit.site.meter.wait_until_written().await;
        found = visit.read(load).await?;
    }
    let Found { key, rights, rotation, by_scope, callers, secrets, .. } = found;
    let revoked = key.revoked.as_ref().map(|revoked| Ended {
        at: format::date_time(revoked.at, &zone),
        by: found.revoked_by,
        reason: revoked.reason.clone(),
        calls_after: found.requests_after_end,
    });
    let view = KeyPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        badge: Badge::of(key.status(now)),
        status: key.status(now),
        created: format::date_time(key.created_at, &zone),
        created_by: found.created_by,
        expires: expires(&key, now, &zone),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        revoked,
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        scopes: by_scope
            .iter()
            .map(|(scope, requests)| (scope_name(scope), format::number(*requests)))
            .collect(),
        callers: callers.iter().map(|caller| CallerRow::new(caller, now, &zone)).collect(),
        secrets: secrets.iter().map(|secret| SecretRow::new(secret, now, &zone)).collect(),
        rotation_panel: rotation.map(|found| RotationPanel::new(&visit, &key, rights, found)),
        rights,
        limits: LimitsPanel::new(&visit, &key, found.limits),
        zone: visit.zone_name(),
        counted_to: format::clock(now, &zone),
        notices: Notices::new(&visit, found.notices),
        key,
    };
    visit.page(&view)
}

fn expires(key: &Key, now: Time, zone: &jiff::tz::TimeZone) -> String {
    match key.expires_at {
        None => "never".to_owned(),
        Some(end) if end <= now => {
            format!("{} ({})", format::date_time(end, zone), When::past(end, now, zone).words)
        }
        Some(end) => format!("{} ({})", format::date_time(end, zone), When::ahead(end, now, zone).words),
    }
}

/// The label of a scope in a table of requests.
pub fn scope_name(scope: &str) -> String {
    if scope.is_empty() { "No scope required".to_owned() } else { scope.to_owned() }
}

impl SecretRow {
    fn new(secret: &SecretUse, now: Time, zone: &jiff::tz::TimeZone) -> SecretRow {
        let by = secret.last_address.as_ref().map(|address| match &secret.last_program {
            Some(program) => format!("{program} at {address}"),
            None => address.clone(),
        });
        let state = match (secret.superseded_at, secret.ends_at) {
            (Some(_), Some(end)) if end > now && !secret.ended => {
                format!("Works until {}", format::date_time(end, zone))
            }
            (Some(_), Some(end)) => format!("Ended {}", format::date_time(end, zone)),
            _ => "Current".to_owned(),
        };
        SecretRow {
            hint: format!("…{}", secret.last4),
            state,
            created: format::date_time(secret.created_at, zone),
            first_used: secret.first_used_at.map(|at| When::past(at, now, zone)),
            last_used: secret.last_used_at.map(|at| When::past(at, now, zone)),
            by,
        }
    }
}

impl KeyPage {
    fn limit(&self) -> String {
        let networks = self.key.settings.allowed_ips.texts();
        let rate = format!(
            "{} requests a minute",
            format::number(self.key.settings.requests_per_minute.get().into())
        );
        if networks.is_empty() { rate } else { format!("{rate}, from {}", networks.join(", ")) }
    }

    fn owner(&self) -> String {
        match &self.key.backup {
            Some(backup) => format!("{}, backup {}", self.key.owner.name, backup.name),
            None => self.key.owner.name.clone(),
        }
    }
}
