//! The page for rotating a key.

use actix_web::HttpResponse;
use askama::Template;

use crate::crypto::random_base62;
use crate::error::FieldError;
use crate::id::KeyId;
use crate::keys::Status;
use crate::keys::manager::KeyAction;
use crate::keys::rotation::{self, MAX_OVERLAP, parse_overlap};
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::reveal::{self, Again};
use crate::portal::kit::date_field;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::time::{DAY, HOUR, Time};
use crate::usage;
use crate::web::form::{Fields, FormErrors};
use crate::web::idempotency::Claim;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The preset overlaps: value, label, seconds.
const PRESETS: [(&str, &str, i64); 5] = [
    ("0s", "Not at all", 0),
    ("1h", "1 hour", HOUR),
    ("24h", "24 hours", DAY),
    ("3d", "3 days", 3 * DAY),
    ("7d", "7 days", 7 * DAY),
];
/// The preselected overlap.
const PRESELECTED: &str = "24h";

#[derive(Template)]
#[template(path = "portal/keys/rotation/rotate.html")]
struct RotatePage {
    layout: Layout,
    org: OrgLink,
    id: KeyId,
    name: String,
    hint: String,
    disabled: bool,
    /// The key's expiry after the rotation; `None`: never.
    ends: Option<String>,
    /// Whether the key has an expiry now.
    had_end: bool,
    /// The old secret's own expiry.
    own_end: Option<String>,
    requests: i64,
    last_used: Option<When>,
    presets: Vec<OverlapChoice>,
    chosen: String,
    until: String,
    range: (String, String),
    zone: String,
    /// Identifies the form, so that submitting it twice has one effect.
    nonce: String,
    form_errors: FormErrors,
}

/// A choice of overlap.
pub struct OverlapChoice {
    /// The value of the radio button.
    pub value: &'static str,
    pub label: &'static str,
    /// When the old secret ends.
    pub until: String,
}

/// `GET /o/{org}/keys/{id}/rotate`.
pub async fn form(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    page(&visit, requested, &Fields::default(), FormErrors::default()).await
}

/// `POST /o/{org}/keys/{id}/rotate`: responds with the page that shows the new secret, as creating a key
/// does.
pub async fn submit(
    visit: Visit,
    requested: RequestedKey,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let key = visit.read(move |conn| requested.find_for(conn, KeyAction::Rotate)).await?;
    let overlap = match overlap(&submitted, &visit) {
        Ok(overlap) => overlap,
        Err(error) => {
            return page(&visit, requested, &submitted, FormErrors(vec![error])).await;
        }
    };
    let defaults = visit.site.defaults.clone();
    let route = format!("POST /o/keys/{}/rotate", key.id);
    let claim = Claim::of_form(&defaults.keyring, visit.org.id, visit.person.id, &route, &submitted);
    let _place = match claim.as_ref().map(|claim| visit.site.running.enter(claim)).transpose() {
        Ok(place) => place,
        // Submitted twice at once: the first response shows the secret.
        Err(_) => return reveal::again(&visit, Again::Running),
    };
    let made = visit.change(move |tx, acting| {
        reveal::once(tx, claim.as_ref(), &defaults.keyring, now, Again::Rotated, |tx| {
            rotation::rotate(tx, acting, &defaults, key.id, overlap)
        })
    });
    match made.await? {
        Ok((key, secret)) => reveal::show(&visit, &key, &secret),
        Err(again) => reveal::again(&visit, again),
    }
}

/// The chosen overlap in seconds.
fn overlap(fields: &Fields, visit: &Visit) -> Result<i64, FieldError> {
    let wrong = |message: &str| FieldError::new("overlap", message);
    match fields.get("overlap") {
        "custom" => {
            let date = date_field::parse(fields.get("overlap_until")).map_err(wrong)?;
            let end = Time::end_of_day(date, &visit.zone).ok_or_else(|| wrong(date_field::NO_DATE))?;
            Some(end.since(visit.now.whole_second()))
                .filter(|overlap| (0..=MAX_OVERLAP).contains(overlap))
                .ok_or_else(|| wrong("Choose a day within the next 30 days."))
        }
        "" => Err(wrong("Choose how long the old secret works.")),
        text => parse_overlap(Some(text)).map_err(|_| wrong("Choose how long the old secret works.")),
    }
}

/// The presets, with the end of the old secret, at most `latest`.
pub fn presets(now: Time, latest: Option<Time>, zone: &jiff::tz::TimeZone) -> Vec<OverlapChoice> {
    PRESETS
        .iter()
        .map(|&(value, label, overlap)| {
            let end = now.plus(overlap);
            let end = latest.map_or(end, |latest| latest.min(end));
            let until = if overlap == 0 { "stops at once".to_owned() } else { format::date_time(end, zone) };
            OverlapChoice { value, label, until }
        })
        .collect()
}

async fn page(
    visit: &Visit,
    requested: RequestedKey,
    fields: &Fields,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (visit.now, visit.zone.clone());
    let found = visit.read(move |conn| {
        let key = requested.find_active_for(conn, KeyAction::Rotate, now)?;
        let by_scope = usage::recent::last_day_by_scope(conn, key.org, key.id, now)?;
        let policy = policy::store::find(conn, key.org)?;
        Ok((key, by_scope, policy))
    });
    let (key, by_scope, policy) = found.await?;
    if key.rotation(now).is_some() {
        return Ok(visit.redirect(path::key(&visit.org.slug, &key.id)));
    }
    let day = |at: Time| at.in_zone(&zone).date().to_string();
    let view = RotatePage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        id: key.id,
        name: key.name.clone(),
        hint: key.fingerprint.hint.clone(),
        disabled: key.status(now) == Status::Disabled,
        ends: rotation::next_end(&policy, visit.role, &key, now).map(|end| format::date_time(end, &zone)),
        had_end: key.expires_at.is_some(),
        own_end: key
            .expires_at
            .filter(|end| end.since(now) < MAX_OVERLAP)
            .map(|end| format::date_time(end, &zone)),
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        presets: presets(now, key.expires_at, &zone),
        chosen: if fields.has("overlap") { fields.get("overlap") } else { PRESELECTED }.to_owned(),
        until: fields.get("overlap_until").to_owned(),
        range: (day(now), day(now.plus(MAX_OVERLAP - DAY))),
        zone: visit.zone_name(),
        nonce: random_base62(22)?.to_string(),
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}
