//! The pages for ending the old secret of a rotated key now, and for giving it more time.

use actix_session::SessionExt;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::error::{Error, FieldError};
use crate::id::KeyId;
use crate::keys::manager::Deed;
use crate::keys::{Key, Superseded, rotation};
use crate::path;
use crate::portal::keys::find_for;
use crate::portal::keys::show::CallerRow;
use crate::portal::kit::words;
use crate::time::{DAY, HOUR, Time};
use crate::usage;
use crate::usage::handover;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;
use crate::web::{Shared, session};

type Path = web::Path<(String, String)>;

/// How many callers are listed.
const CALLERS: usize = 5;
/// By how much the overlap may be made longer with one click.
const LONGER: [(&str, &str, i64); 4] = [
    ("1h", "1 hour more", HOUR),
    ("24h", "24 hours more", DAY),
    ("3d", "3 days more", 3 * DAY),
    ("7d", "7 days more", 7 * DAY),
];

#[derive(Template)]
#[template(path = "portal/keys/rotation/end.html", blocks = ["act"])]
struct EndPage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    hint: String,
    ends: String,
    in_dialog: bool,
    callers: Vec<CallerRow>,
    still: i64,
    unseen: i64,
    /// Whether the key replaced its own secret, so that a thief may hold the new one.
    rotated_itself: bool,
}

#[derive(Template)]
#[template(path = "portal/keys/rotation/move.html")]
struct MovePage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    ends: String,
    latest: String,
    choices: Vec<(&'static str, &'static str, String)>,
    chosen: String,
    zone: String,
    complaints: Complaints,
}

/// The key with its open rotation; nothing where none is open.
async fn open(
    deed: Deed,
    site: &Shared,
    member: &Member,
    id: &str,
) -> Result<(Key, Option<Superseded>), Problem> {
    let key = find_for(deed, site, member, id).await?;
    let old = key.rotation(Time::now()).cloned();
    Ok((key, old))
}

fn number(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// `GET /o/{org}/keys/{id}/rotation/end`.
pub async fn confirm_end(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let (key, old) = open(Deed::Rotate, &site, &member, &path.1).await?;
    let Some(old) = old else { return Ok(redirect(&request, &path::key(&member.org.slug, &key.id))) };
    let (now, zone) = (Time::now(), member.person.time_zone());
    // A use of just now counts as one.
    usage::flush(&site.meter, &site.db, now).await?;
    let (org, id, secrets, started) = (key.org, key.id, (old.secret, key.secret), old.at);
    let found = site.db.read(move |conn| handover::handover(conn, org, id, secrets, started, now)).await?;
    let rows = found.still.iter().take(CALLERS).map(|caller| CallerRow::new(caller, now, &zone));
    let view = EndPage {
        layout: Layout::of(&request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        hint: old.fingerprint.hint.clone(),
        ends: words::date_time(old.ends_at, &zone),
        in_dialog: is_partial(&request),
        callers: rows.collect(),
        still: number(found.still.len()),
        unseen: number(found.unseen.len()),
        rotated_itself: old.by == key.id.to_string(),
    };
    if view.in_dialog { html(StatusCode::OK, &view.as_act()) } else { html(StatusCode::OK, &view) }
}

/// `POST /o/{org}/keys/{id}/rotation/end`.
pub async fn end(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let (key, _) = open(Deed::Rotate, &site, &member, &path.1).await?;
    let (change, id) = (member.change(&request, Time::now()), key.id);
    change.commit(&site.db, move |tx, acting| rotation::end(tx, acting, id)).await?;
    session::flash(&request.get_session(), &format!("The old secret of {} has ended.", key.name));
    Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
}

/// `GET /o/{org}/keys/{id}/rotation/move`.
pub async fn move_form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
) -> Result<HttpResponse, Problem> {
    let (key, old) = open(Deed::Edit, &site, &member, &path.1).await?;
    match old {
        Some(old) => move_page(&request, &member, &key, &old, "24h", Complaints::default(), StatusCode::OK),
        None => Ok(redirect(&request, &path::key(&member.org.slug, &key.id))),
    }
}

/// `POST /o/{org}/keys/{id}/rotation/move`.
pub async fn move_end(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: Path,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (key, old) = open(Deed::Edit, &site, &member, &path.1).await?;
    let Some(old) = old else { return Ok(redirect(&request, &path::key(&member.org.slug, &key.id))) };
    let chosen = fields.get("longer");
    let Some((_, _, longer)) = LONGER.iter().find(|(value, _, _)| *value == chosen) else {
        let complaints =
            Complaints(vec![FieldError::new("longer", "Choose how much longer the old secret works.")]);
        let refused = StatusCode::UNPROCESSABLE_ENTITY;
        return move_page(&request, &member, &key, &old, chosen, complaints, refused);
    };
    let to = old.ends_at.plus(*longer).min(old.latest_end());
    let (change, id) = (member.change(&request, Time::now()), key.id);
    match change.commit(&site.db, move |tx, acting| rotation::move_end(tx, acting, id, to)).await {
        // It ended while the page was open.
        Err(Error::Conflict(_)) => {}
        moved => {
            moved?;
            let end = words::date_time(to, &member.person.time_zone());
            let said = format!("The old secret of {} works until {end}.", key.name);
            session::flash(&request.get_session(), &said);
        }
    }
    Ok(redirect(&request, &path::key(&member.org.slug, &key.id)))
}

fn move_page(
    request: &HttpRequest,
    member: &Member,
    key: &Key,
    old: &Superseded,
    chosen: &str,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let zone = member.person.time_zone();
    let latest = old.latest_end();
    let choice = |&(value, label, longer): &(&'static str, &'static str, i64)| {
        (value, label, words::date_time(old.ends_at.plus(longer).min(latest), &zone))
    };
    let view = MovePage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        ends: words::date_time(old.ends_at, &zone),
        latest: words::date_time(latest, &zone),
        choices: if old.ends_at < latest { LONGER.iter().map(choice).collect() } else { Vec::new() },
        chosen: chosen.to_owned(),
        zone: member.person.zone_name(),
        complaints,
    };
    html(status, &view)
}
