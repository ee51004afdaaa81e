//! The page for rotating a key.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::crypto::random_base62;
use crate::error::{Error, FieldError};
use crate::id::KeyId;
use crate::keys::manager::Deed;
use crate::keys::rotation::{self, MAX_OVERLAP, parse_overlap};
use crate::keys::{Key, Status};
use crate::orgs::policy;
use crate::path;
use crate::portal::keys::find_for;
use crate::portal::keys::reveal::{self, Again};
use crate::portal::kit::words::{self, When};
use crate::time::{DAY, HOUR, Time};
use crate::usage;
use crate::web::Shared;
use crate::web::form::{Complaints, Fields};
use crate::web::idempotency::{Claim, Refused};
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// How long the old secret may be asked to work with one click.
const PRESETS: [(&str, &str, i64); 5] = [
    ("0s", "Not at all", 0),
    ("1h", "1 hour", HOUR),
    ("24h", "24 hours", DAY),
    ("3d", "3 days", 3 * DAY),
    ("7d", "7 days", 7 * DAY),
];
/// The one chosen at first.
const PRESELECTED: &str = "24h";

#[derive(Template)]
#[template(path = "portal/keys/rotation/rotate.html")]
struct RotatePage {
    layout: Layout,
    org: Place,
    id: KeyId,
    name: String,
    hint: String,
    disabled: bool,
    /// When the key ends once it is rotated; never where there is nothing.
    ends: Option<String>,
    /// Whether it ends as it is.
    had_end: bool,
    /// When the old secret would end by itself.
    own_end: Option<String>,
    requests: i64,
    last_used: Option<When>,
    presets: Vec<OverlapChoice>,
    chosen: String,
    until: String,
    range: (String, String),
    zone: String,
    /// Tells a form sent twice from two forms.
    nonce: String,
    complaints: Complaints,
}

/// An overlap that can be chosen.
pub struct OverlapChoice {
    /// The value of the radio button.
    pub value: &'static str,
    /// What it says.
    pub label: &'static str,
    /// When the old secret ends.
    pub until: String,
}

/// `GET /o/{org}/keys/{id}/rotate`.
pub async fn form(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let key = find_for(Deed::Rotate, &site, &member, &path.1).await?;
    let now = Time::now();
    if key.status(now).is_ended() {
        return Err(Error::KeyEnded.into());
    }
    if key.rotation(now).is_some() {
        return Ok(redirect(&request, &path::key(&member.org.slug, &key.id)));
    }
    page(&request, &member, &site, &key, &Fields::default(), Complaints::default(), StatusCode::OK).await
}

/// `POST /o/{org}/keys/{id}/rotate`: answers with the page that shows the new secret, as the
/// creation of a key does.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = find_for(Deed::Rotate, &site, &member, &path.1).await?;
    let overlap = match overlap(&submitted, &member, now) {
        Ok(overlap) => overlap,
        Err(error) => {
            let refused = StatusCode::UNPROCESSABLE_ENTITY;
            return page(&request, &member, &site, &key, &submitted, Complaints(vec![error]), refused).await;
        }
    };
    let (change, mint) = (member.change(&request, now), site.mint.clone());
    let claim = claim(&site, &member, &submitted, &key);
    let _place = match claim.as_ref().map(|claim| site.running.enter(claim)).transpose() {
        Ok(place) => place,
        // Sent twice at once: the first answer shows the secret.
        Err(_) => return reveal::again(&request, &member, Again::Running),
    };
    let made = change.commit(&site.db, move |tx, acting| {
        if let Some(claim) = &claim {
            match claim.take(tx, &mint.keyring, now) {
                Ok(None) => {}
                Ok(Some(earlier)) => return Ok(Err(Again::Rotated(earlier.answer))),
                Err(Refused::Failed(error)) => return Err(error),
                Err(_) => return Ok(Err(Again::Running)),
            }
        }
        let (key, secret) = rotation::rotate(tx, acting, &mint, key.id, overlap)?;
        if let Some(claim) = &claim {
            // Only the id is kept: this page never shows a secret twice.
            claim.keep(tx, &mint.keyring, &key.id.to_string(), "")?;
        }
        Ok(Ok((key, secret)))
    });
    match made.await? {
        Ok((key, secret)) => reveal::show(&request, &member, &site, &key, &secret),
        Err(again) => reveal::again(&request, &member, again),
    }
}

/// The chosen overlap in seconds.
fn overlap(fields: &Fields, member: &Member, now: Time) -> Result<i64, FieldError> {
    let wrong = |message: &str| FieldError::new("overlap", message);
    match fields.get("overlap") {
        "custom" => {
            let date = fields.get("overlap_until").parse().ok();
            let end = date.and_then(|date| Time::end_of_day(date, &member.person.time_zone()));
            let end = end.ok_or_else(|| wrong("Choose a day for the old secret's end."))?;
            Some(end.since(now.whole_second()))
                .filter(|overlap| (0..=MAX_OVERLAP).contains(overlap))
                .ok_or_else(|| wrong("Choose a day within the next 30 days."))
        }
        "" => Err(wrong("Choose how long the old secret works.")),
        text => parse_overlap(Some(text)).map_err(|_| wrong("Choose how long the old secret works.")),
    }
}

/// The form with these very values, by this person: the same again is the same wish.
fn claim(site: &Shared, member: &Member, submitted: &Fields, key: &Key) -> Option<Claim> {
    let nonce = submitted.get("form");
    if nonce.is_empty() || nonce.len() > 64 {
        return None;
    }
    let asked = format!("{:?}{:?}", submitted.get("overlap"), submitted.get("overlap_until"));
    let route = format!("POST /o/keys/{}/rotate", key.id);
    let proof = member.person.id.to_string();
    let name = format!("{nonce}:{}", hex::encode(crate::crypto::sha256(asked.as_bytes())));
    Some(Claim::new(&site.mint.keyring, member.org.id, &proof, &route, &name, asked.as_bytes()))
}

/// The presets with when the old secret would end, which is never after `latest`.
pub fn presets(now: Time, latest: Option<Time>, zone: &jiff::tz::TimeZone) -> Vec<OverlapChoice> {
    PRESETS
        .iter()
        .map(|&(value, label, overlap)| {
            let end = now.plus(overlap);
            let end = latest.map_or(end, |latest| latest.min(end));
            let until = if overlap == 0 { "ends at once".to_owned() } else { words::date_time(end, zone) };
            OverlapChoice { value, label, until }
        })
        .collect()
}

async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: &Key,
    fields: &Fields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let (now, zone) = (Time::now(), member.person.time_zone());
    let (org, id) = (member.org.id, key.id);
    let found = site.db.read(move |conn| {
        let policy = policy::store::find(conn, org)?;
        Ok((usage::recent::last_day_by_scope(conn, org, id, now)?, policy))
    });
    let (by_scope, policy) = found.await?;
    let day = |at: Time| at.in_zone(&zone).date().to_string();
    let view = RotatePage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        id: key.id,
        name: key.name.clone(),
        hint: key.fingerprint.hint.clone(),
        disabled: key.status(now) == Status::Disabled,
        ends: rotation::next_end(&policy, member.role, key, now).map(|end| words::date_time(end, &zone)),
        had_end: key.expires_at.is_some(),
        own_end: key
            .expires_at
            .filter(|end| end.since(now) < MAX_OVERLAP)
            .map(|end| words::date_time(end, &zone)),
        requests: by_scope.iter().map(|(_, requests)| requests).sum(),
        last_used: key.last_used_at.map(|at| When::past(at, now, &zone)),
        presets: presets(now, key.expires_at, &zone),
        chosen: if fields.has("overlap") { fields.get("overlap") } else { PRESELECTED }.to_owned(),
        until: fields.get("overlap_until").to_owned(),
        range: (day(now), day(now.plus(MAX_OVERLAP - DAY))),
        zone: member.person.zone_name(),
        nonce: random_base62(22)?.to_string(),
        complaints,
    };
    html(status, &view)
}
