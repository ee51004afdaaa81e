//! When keys end, for calendars: a feed at an address of its own for each member, and one file
//! for one key.

use actix_session::SessionExt;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::config::PublicUrl;
use crate::error::Error;
use crate::id::OrgId;
use crate::keys::Key;
use crate::keys::list::{self, Order, Page};
use crate::keys::manager::Manager;
use crate::orgs::calendar;
use crate::path;
use crate::portal::keys;
use crate::portal::kit::ical::{self, Event};
use crate::portal::kit::words;
use crate::time::{DAY, Time};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::{Member, SignedIn};
use crate::web::problem::Problem;
use crate::web::{Shared, session};

/// How many keys a feed tells of at most, soonest end first.
const MOST: i64 = 1_000;
/// How long an end that has come stays in a feed, in days.
const KEPT: i64 = 30;

#[derive(Template)]
#[template(path = "portal/keys/calendar.html")]
struct CalendarPage {
    layout: Layout,
    org: Place,
    /// Since when there is an address.
    made: Option<String>,
    /// The address, on the one page that shows it.
    address: Option<String>,
    own_keys_only: bool,
    zone: String,
}

/// `GET /o/{org}/calendar`: whether the reader has an address.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    page(&request, &member, &site, None).await
}

/// `POST /o/{org}/calendar`: makes an address and shows it, this once.
pub async fn make(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let change = member.change(&request, Time::now());
    let token = change.commit(&site.db, calendar::make).await?;
    let address = site.public_url.link(&path::calendar_feed(&token));
    page(&request, &member, &site, Some(address)).await
}

/// `POST /o/{org}/calendar/end`: makes the address unknown.
pub async fn end(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let change = member.change(&request, Time::now());
    change.commit(&site.db, calendar::end).await?;
    session::flash(&request.get_session(), "Your calendar address no longer works.");
    Ok(redirect(&request, &path::calendar(&member.org.slug)))
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    address: Option<String>,
) -> Result<HttpResponse, Problem> {
    let (org, person, zone) = (member.org.id, member.person.id, member.person.time_zone());
    let made = site.db.read(move |conn| calendar::made_at(conn, org, person)).await?;
    let view = CalendarPage {
        layout: Layout::of(request, Room::Keys).with_flash(request),
        org: Place::of(&member.org),
        made: made.map(|at| words::date_time(at, &zone)),
        address,
        own_keys_only: !member.role.sees_all_keys(),
        zone: member.person.zone_name(),
    };
    let mut response = html(StatusCode::OK, &view)?;
    if view.address.is_some() {
        let no_referrer = header::HeaderValue::from_static("no-referrer");
        response.headers_mut().insert(header::REFERRER_POLICY, no_referrer);
    }
    Ok(response)
}

/// `GET /calendar/{token}.ics`: all ends that the member may see. The token is the credential,
/// since calendars can't sign in.
pub async fn feed(site: Shared, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let found = site.db.read(move |conn| {
        let (org, person, role) = calendar::of_token(conn, &token)?.ok_or(Error::NotFound)?;
        let manager = Manager { person: person.id, role };
        let keys = ending(conn, org.id, &manager, now)?;
        Ok::<_, Error>((org, keys))
    });
    let (org, keys) = found.await?;
    let events: Vec<Event> =
        keys.iter().flat_map(|key| events(key, &org.name, &site.public_url, now)).collect();
    Ok(ics(&ical::calendar(&format!("API keys of {}", org.name), &events, now)))
}

/// `GET /keys/{id}.ics`: the end of one key, for whoever is signed in and may see it.
pub async fn of_key(
    signed_in: SignedIn,
    site: Shared,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (org, key) = keys::find_anywhere(&site, &signed_in, &id).await?;
    let now = Time::now();
    let events = events(&key, &org.name, &site.public_url, now);
    if events.is_empty() {
        return Err(Problem::not_found());
    }
    let mut response = ics(&ical::calendar(&key.name, &events, now));
    let named = header::HeaderValue::from_str(&format!("attachment; filename=\"{}.ics\"", key.id));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, named.map_err(Error::internal)?);
    Ok(response)
}

/// The keys whose ends a member's calendar tells: those that end, soonest first.
fn ending(
    conn: &mut crate::db::Conn,
    org: OrgId,
    manager: &Manager,
    now: Time,
) -> crate::error::Result<Vec<Key>> {
    let mine = (!manager.role.sees_all_keys()).then_some(manager.person);
    let filter = list::Filter { mine, ..list::Filter::default() };
    let page = Page { offset: 0, limit: MOST, reversed: false };
    let keys = list::list(conn, org, &filter, Order::Expires, page, now)?;
    let is_told =
        |key: &Key| key.revoked.is_none() && key.expires_at.is_some_and(|end| now.since(end) < KEPT * DAY);
    Ok(keys.into_iter().filter(is_told).collect())
}

/// The end of a key, and that of its old secret while a rotation is open.
fn events(key: &Key, org: &str, public_url: &PublicUrl, now: Time) -> Vec<Event> {
    let url = public_url.link(&path::key_link(&key.id));
    let revoked = key.revoked.is_some();
    let end = key.expires_at.map(|at| Event {
        uid: format!("{}@keydesk", key.id),
        sequence: key.end_changes + i64::from(revoked),
        at,
        summary: format!("API key \"{}\" expires", key.name),
        description: format!(
            "Key {} of {org}, owner {}. From then on its callers are refused. Rotate it before: {url}",
            key.fingerprint.hint, key.owner.name
        ),
        url: url.clone(),
        cancelled: revoked,
    });
    let old = key.rotation(now).map(|old| Event {
        uid: format!("{}@keydesk", old.secret),
        sequence: key.end_changes,
        at: old.ends_at,
        summary: format!("Old secret of API key \"{}\" ends", key.name),
        description: format!(
            "The key was rotated; {} works until then. See who still uses it: {url}",
            old.fingerprint.hint
        ),
        url,
        cancelled: false,
    });
    end.into_iter().chain(old).collect()
}

fn ics(text: &str) -> HttpResponse {
    HttpResponse::Ok().content_type("text/calendar; charset=utf-8").body(text.to_owned())
}
