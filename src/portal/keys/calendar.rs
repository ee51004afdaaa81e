//! Expiry dates as calendars: a feed with a secret address for each member, and a file for each key.

use actix_web::http::header::{self, ETag, EntityTag, IfNoneMatch};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use askama::Template;
use sha2::{Digest, Sha256};

use crate::config::PublicUrl;
use crate::error::Error;
use crate::id::OrgId;
use crate::keys::Key;
use crate::keys::list::{self, Order, Page};
use crate::keys::manager::KeyManager;
use crate::orgs::calendar;
use crate::path;
use crate::portal::keys;
use crate::portal::kit::format;
use crate::portal::kit::ical::{self, Event};
use crate::portal::kit::visit::{AccountVisit, GuestVisit, Visit};
use crate::time::{DAY, Time};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The most keys in a feed, soonest expiry first.
const MOST: i64 = 1_000;
const TYPE: &str = "text/calendar; charset=utf-8";
/// How long a past expiry stays in a feed, in days.
const KEPT: i64 = 30;

#[derive(Template)]
#[template(path = "portal/keys/calendar.html")]
struct CalendarPage {
    layout: Layout,
    org: OrgLink,
    /// The date on which the address was created.
    made: Option<String>,
    /// The address, only on the page that creates it.
    address: Option<String>,
    own_keys_only: bool,
    zone: String,
}

/// `GET /o/{org}/calendar`: whether the visitor has an address.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    page(&visit, None).await
}

/// `POST /o/{org}/calendar`: creates an address and shows it, once.
pub async fn make(visit: Visit) -> Result<HttpResponse, Problem> {
    let token = visit.change(calendar::make).await?;
    let address = visit.site.public_url.link(&path::calendar_feed(&token));
    page(&visit, Some(address)).await
}

/// `POST /o/{org}/calendar/end`: revokes the address.
pub async fn end(visit: Visit) -> Result<HttpResponse, Problem> {
    visit.change(calendar::end).await?;
    Ok(visit.redirect_with(path::calendar(&visit.org.slug), "Your calendar address no longer works."))
}

async fn page(visit: &Visit, address: Option<String>) -> Result<HttpResponse, Problem> {
    let (org, person, zone) = (visit.org.id, visit.person.id, visit.zone.clone());
    let made = visit.read(move |conn| calendar::made_at(conn, org, person)).await?;
    let view = CalendarPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        made: made.map(|at| format::date_time(at, &zone)),
        address,
        own_keys_only: !visit.role.sees_all_keys(),
        zone: visit.zone_name(),
    };
    let mut response = visit.page(&view)?;
    if view.address.is_some() {
        let no_referrer = header::HeaderValue::from_static("no-referrer");
        response.headers_mut().insert(header::REFERRER_POLICY, no_referrer);
    }
    Ok(response)
}

/// `GET /calendar/{token}.ics`: the expiry dates of all keys that the member may see. The token is the
/// credential, because calendar programs can't sign in.
pub async fn feed(visit: GuestVisit, token: web::Path<String>) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let found = visit.read(move |conn| {
        let (org, person, role) = calendar::of_token(conn, &token)?.ok_or(Error::NotFound)?;
        let manager = KeyManager { person: person.id, role };
        let keys = ending(conn, org.id, &manager, now)?;
        Ok::<_, Error>((org, keys))
    });
    let (org, keys) = found.await?;
    let events: Vec<Event> =
        keys.iter().flat_map(|key| events(key, &org.name, &visit.site.public_url, now)).collect();
    Ok(unless_known(&visit.request, ical::calendar(&format!("API keys of {}", org.name), &events, now)))
}

/// `GET /keys/{id}.ics`: the expiry of one key.
pub async fn of_key(visit: AccountVisit, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (org, key) = keys::find_anywhere(&visit, &id).await?;
    let now = visit.now;
    let events = events(&key, &org.name, &visit.site.public_url, now);
    if events.is_empty() {
        return Err(Problem::not_found());
    }
    let mut response = ics(ical::calendar(&key.name, &events, now));
    let named = header::HeaderValue::from_str(&format!("attachment; filename=\"{}.ics\"", key.id));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, named.map_err(Error::internal)?);
    Ok(response)
}

/// The keys in a member's calendar, soonest expiry first.
fn ending(
    conn: &mut crate::db::Conn,
    org: OrgId,
    manager: &KeyManager,
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

/// The expiry of a key, and the end of an open rotation.
fn events(key: &Key, org: &str, public_url: &PublicUrl, now: Time) -> Vec<Event> {
    let url = public_url.link(&path::key_link(&key.id));
    let revoked = key.revoked.is_some();
    let end = key.expires_at.map(|at| Event {
        uid: format!("{}@keydesk", key.id),
        sequence: key.end_changes + i64::from(revoked),
        at,
        summary: format!("API key \"{}\" expires", key.name),
        description: format!(
            "Key {} of {org}, owner {}. After that, its requests are refused. Rotate it first: {url}",
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
            "The key was rotated; {} works until then. See which clients still use it: {url}",
            old.fingerprint.hint
        ),
        url,
        cancelled: false,
    });
    end.into_iter().chain(old).collect()
}

fn ics(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type(TYPE).body(text)
}

/// The calendar with its entity tag, or 304 if the client has this text already (RFC 9110 section 13.1.2).
fn unless_known(request: &HttpRequest, text: String) -> HttpResponse {
    // A strong tag is about the bytes, which compression changes.
    let encodings = request.headers().get(header::ACCEPT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    let digest = Sha256::new().chain_update(text.as_bytes()).chain_update(encodings).finalize();
    let digest = hex::encode(&digest[..16]);
    let tag = ETag(EntityTag::new_strong(digest));
    let is_known = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(known)) => known.iter().any(|known| known.weak_eq(&tag.0)),
        None => false,
    };
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response.insert_header(tag).insert_header((header::CACHE_CONTROL, "private, no-cache"));
    if is_known { response.finish() } else { response.content_type(TYPE).body(text) }
}
