//! Ending an overlap early, and extending it.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::FieldError;
use crate::id::KeyId;
use crate::keys::manager::KeyAction;
use crate::keys::{Key, Superseded, rotation};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::clients::CallerRow;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::time::{DAY, HOUR};
use crate::usage::rotation_progress;
use crate::web::form::{Fields, FormErrors};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The number of clients listed.
const CALLERS: usize = 5;
/// The preset extensions: value, label, seconds.
const LONGER: [(&str, &str, i64); 4] =
    [("1h", "1 hour", HOUR), ("24h", "24 hours", DAY), ("3d", "3 days", 3 * DAY), ("7d", "7 days", 7 * DAY)];

#[derive(Template)]
#[template(path = "portal/keys/rotation/end.html", blocks = ["act"])]
struct EndPage {
    layout: Layout,
    org: OrgLink,
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
    org: OrgLink,
    id: KeyId,
    name: String,
    ends: String,
    latest: String,
    choices: Vec<(&'static str, &'static str, String)>,
    chosen: String,
    zone: String,
    form_errors: FormErrors,
}

/// The key with its open rotation, if one is open.
async fn open(
    visit: &Visit,
    requested: RequestedKey,
    action: KeyAction,
) -> Result<(Key, Option<Superseded>), Problem> {
    let key = visit.read(move |conn| requested.find_for(conn, action)).await?;
    let old = key.rotation(visit.now).cloned();
    Ok((key, old))
}

fn number(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX)
}

/// `GET /o/{org}/keys/{id}/rotation/end`.
pub async fn confirm_end(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, visit.zone.clone());
    visit.site.meter.wait_until_written().await;
    let found = visit.read(move |conn| {
        let key = requested.find_for(conn, KeyAction::Rotate)?;
        let Some(old) = key.rotation(now).cloned() else { return Ok((key, None)) };
        let secrets = (old.secret, key.secret);
        let progress = rotation_progress::progress(conn, key.org, key.id, secrets, old.at, now)?;
        Ok((key, Some((old, progress))))
    });
    let (key, Some((old, found))) = found.await? else {
        return Ok(visit.redirect(path::key(&visit.org.slug, &requested.id)));
    };
    let rows = found.still.iter().take(CALLERS).map(|caller| CallerRow::new(caller, now, &zone));
    let view = EndPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        hint: old.fingerprint.hint.clone(),
        ends: format::date_time(old.ends_at, &zone),
        in_dialog: visit.is_partial(),
        callers: rows.collect(),
        still: number(found.still.len()),
        unseen: number(found.unseen.len()),
        rotated_itself: old.by == key.id.to_string(),
    };
    if view.in_dialog { visit.page(&view.as_act()) } else { visit.page(&view) }
}

/// `POST /o/{org}/keys/{id}/rotation/end`.
pub async fn end(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let (key, _) = open(&visit, requested, KeyAction::Rotate).await?;
    let id = key.id;
    visit.change(move |tx, acting| rotation::end(tx, acting, id)).await?;
    Ok(visit.redirect_with(
        path::key(&visit.org.slug, &key.id),
        format!("The old secret of {} has ended.", key.name),
    ))
}

/// `GET /o/{org}/keys/{id}/rotation/move`.
pub async fn move_form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let (key, old) = open(&visit, requested, KeyAction::Edit).await?;
    match old {
        Some(old) => move_page(&visit, &key, &old, "24h", FormErrors::default()),
        None => Ok(visit.redirect(path::key(&visit.org.slug, &key.id))),
    }
}

/// `POST /o/{org}/keys/{id}/rotation/move`.
pub async fn move_end(
    visit: Visit,
    requested: RequestedKey,
    fields: Fields,
) -> Result<HttpResponse, Problem> {
    let (key, old) = open(&visit, requested, KeyAction::Edit).await?;
    let Some(old) = old else { return Ok(visit.redirect(path::key(&visit.org.slug, &key.id))) };
    let chosen = fields.get("longer");
    let Some((_, _, longer)) = LONGER.iter().find(|(value, _, _)| *value == chosen) else {
        let form_errors =
            FormErrors(vec![FieldError::new("longer", "Choose by how much to extend the old secret.")]);
        return move_page(&visit, &key, &old, chosen, form_errors);
    };
    let to = old.ends_at.plus(*longer).min(old.latest_end());
    let id = key.id;
    visit.change(move |tx, acting| rotation::move_end(tx, acting, id, to)).await?;
    let end = format::date_time(to, &visit.zone);
    let done = format!("The old secret of {} works until {end}.", key.name);
    Ok(visit.redirect_with(path::key(&visit.org.slug, &id), done))
}

fn move_page(
    visit: &Visit,
    key: &Key,
    old: &Superseded,
    chosen: &str,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let zone = visit.zone.clone();
    let latest = old.latest_end();
    let choice = |&(value, label, longer): &(&'static str, &'static str, i64)| {
        (value, label, format::date_time(old.ends_at.plus(longer).min(latest), &zone))
    };
    let view = MovePage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        ends: format::date_time(old.ends_at, &zone),
        latest: format::date_time(latest, &zone),
        choices: if old.ends_at < latest { LONGER.iter().map(choice).collect() } else { Vec::new() },
        chosen: chosen.to_owned(),
        zone: visit.zone_name(),
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}
