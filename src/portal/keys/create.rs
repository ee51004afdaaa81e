//! The page for creating a key.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::crypto::random_base62;
use crate::error::{Error, FieldError};
use crate::keys::draft::{Expiry, RawDraft};
use crate::keys::name::Name;
use crate::keys::{Key, lifecycle, store};
use crate::orgs::policy::{self, MAX_DAYS};
use crate::path;
use crate::portal::keys::fields::{self, Choices, KeyFields};
use crate::portal::keys::reveal::{self, Again};
use crate::portal::kit::words;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::web::Shared;
use crate::web::form::{Complaints, Fields};
use crate::web::idempotency::{Claim, Refused};
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// A refused form comes back with this.
const REFUSED: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;

#[derive(Template)]
#[template(path = "portal/keys/create.html")]
struct CreatePage {
    layout: Layout,
    org: Place,
    fields: KeyFields,
    complaints: Complaints,
    choices: Choices,
    zone: String,
    /// Tells a form sent twice from two forms.
    nonce: String,
}

/// `GET /o/{org}/keys/new`: empty, or filled from the query or from another key.
pub async fn form(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let query = Fields::of_query(&request);
    let source = match query.get("from") {
        "" => None,
        id => Some(super::find(&site, &member, id).await?),
    };
    let choices = choices(&site, &member, now).await?;
    let fields = prefilled(&query, source.as_ref(), &choices, now, &member);
    page(&request, &member, choices, fields, Complaints::default(), StatusCode::OK)
}

/// `POST /o/{org}/keys`: makes the key and answers with the page that shows it.
///
/// An exception to the rule that a POST leads on to a GET: the secret is nowhere else, and
/// no URL may show it again.
pub async fn submit(
    request: HttpRequest,
    member: Member,
    site: Shared,
    submitted: Fields,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let fields = KeyFields::submitted(&submitted);
    let draft = match draft(&fields, &member).check(now) {
        Ok(draft) => draft,
        Err(mut errors) => {
            // Whoever has to correct a form wants to know of a taken name now, not next time.
            errors.splice(0..0, taken_name(&site, &member, &fields.name, now).await?);
            let choices = choices(&site, &member, now).await?;
            let complaints = fields::complaints(Error::Invalid(errors))?;
            return page(&request, &member, choices, fields, complaints, REFUSED);
        }
    };
    let (change, mint) = (member.change(&request, now), site.mint.clone());
    let claim = claim(&site, &member, &submitted, &fields);
    let _place = match claim.as_ref().map(|claim| site.running.enter(claim)).transpose() {
        Ok(place) => place,
        // Sent twice at once: the first answer shows the key.
        Err(_) => return reveal::again(&request, &member, Again::Running),
    };
    let made = change.commit(&site.db, move |tx, acting| {
        if let Some(claim) = &claim {
            match claim.take(tx, &mint.keyring, now) {
                Ok(None) => {}
                Ok(Some(earlier)) => return Ok(Err(Again::Key(earlier.answer))),
                Err(Refused::Failed(error)) => return Err(error),
                Err(_) => return Ok(Err(Again::Running)),
            }
        }
        let (key, secret) = lifecycle::create(tx, acting, &mint, &draft)?;
        if let Some(claim) = &claim {
            // Only the id is kept: this page never shows a secret twice.
            claim.keep(tx, &mint.keyring, &key.id.to_string(), "")?;
        }
        Ok(Ok((key, secret)))
    });
    match made.await {
        Ok(Ok((key, secret))) => reveal::show(&request, &member, &site, &key, &secret),
        Ok(Err(again)) => reveal::again(&request, &member, again),
        Err(error) => {
            let complaints = fields::complaints(error)?;
            let choices = choices(&site, &member, now).await?;
            page(&request, &member, choices, fields, complaints, REFUSED)
        }
    }
}

/// What the organisation's policy lets the member choose.
async fn choices(site: &Shared, member: &Member, now: Time) -> Result<Choices, Problem> {
    let org = member.org.id;
    let policy = site.db.read(move |conn| policy::store::find(conn, org)).await?;
    let (latest, zone) = (policy.latest_end(now), member.person.time_zone());
    Ok(Choices::new(&policy, member.role, latest, now, &zone, site.mint.default_rpm))
}

/// The complaint about a name that a living key has.
async fn taken_name(
    site: &Shared,
    member: &Member,
    name: &str,
    now: Time,
) -> Result<Option<FieldError>, Problem> {
    let Ok(name) = Name::parse(name) else { return Ok(None) };
    let (org, text) = (member.org.id, name.as_str().to_owned());
    let taken = site.db.read(move |conn| store::by_living_name(conn, org, &text, now)).await?;
    Ok(taken.map(|_| FieldError::new("name", Error::NameTaken(name.as_str().to_owned()).to_string())))
}

/// The form with these very values, by this person: the same again is the same wish.
fn claim(site: &Shared, member: &Member, submitted: &Fields, fields: &KeyFields) -> Option<Claim> {
    let nonce = submitted.get("form");
    if nonce.is_empty() || nonce.len() > 64 {
        return None;
    }
    let KeyFields { name, description, scopes, expires, expires_on, requests_per_minute, allowed_ips } =
        fields;
    let text = format!(
        "{name:?}{description:?}{scopes:?}{expires:?}{expires_on:?}{requests_per_minute:?}{allowed_ips:?}"
    );
    let digest = hex::encode(crate::crypto::sha256(text.as_bytes()));
    let (proof, name) = (member.person.id.to_string(), format!("{nonce}:{digest}"));
    Some(Claim::new(&site.mint.keyring, member.org.id, &proof, "POST /o/keys", &name, text.as_bytes()))
}

fn draft(fields: &KeyFields, member: &Member) -> RawDraft {
    // A wrong date must not hide what else is wrong.
    let expiry = fields.expiry(&member.person.time_zone()).ok().flatten().unwrap_or(Expiry::Unreadable);
    RawDraft {
        name: fields.name.clone(),
        description: fields.description.clone(),
        scopes: fields.scopes.clone(),
        expiry: ("expires", expiry),
        owner: None,
        backup: None,
        requests_per_minute: Some(fields.rpm()),
        allowed_ips: fields.networks(),
        self_rotate: false,
    }
}

fn prefilled(
    query: &Fields,
    source: Option<&Key>,
    choices: &Choices,
    now: Time,
    member: &Member,
) -> KeyFields {
    let mut fields = KeyFields {
        scopes: vec![Scope::InferenceRead.name().to_owned()],
        expires: choices.preselected.clone(),
        requests_per_minute: choices.default_rpm.to_string(),
        ..KeyFields::default()
    };
    if let Some(key) = source {
        // A name in use can't be had again; that of an ended key can.
        fields.name = if key.status(now).is_ended() { key.name.clone() } else { String::new() };
        fields.description.clone_from(&key.description);
        fields.scopes = key.scopes.names().into_iter().map(str::to_owned).collect();
        fields.requests_per_minute = key.requests_per_minute.min(choices.most_rpm).to_string();
        fields.allowed_ips = fields::network_lines(&key.allowed_ips);
        let days = key.expires_at.map(|end| end.since(key.created_at) / DAY);
        let wish = days.map_or_else(|| "never".to_owned(), |days| days.to_string());
        set_expiry(&mut fields, &wish, choices, now, member);
    }
    let set = |field: &mut String, name: &str| {
        if query.has(name) {
            *field = query.get(name).chars().take(2000).collect();
        }
    };
    set(&mut fields.name, "name");
    set(&mut fields.description, "description");
    set(&mut fields.requests_per_minute, "requests_per_minute");
    set(&mut fields.allowed_ips, "allowed_ips");
    if query.has("scopes") {
        let given = query.all("scopes");
        let names = given.iter().flat_map(|text| text.split([',', ' ']));
        fields.scopes = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    if query.has("expires") {
        set_expiry(&mut fields, query.get("expires"), choices, now, member);
    }
    fields
}

fn set_expiry(fields: &mut KeyFields, wish: &str, choices: &Choices, now: Time, member: &Member) {
    let zone = member.person.time_zone();
    match wish.parse::<i64>() {
        Ok(days) if choices.presets.iter().any(|preset| preset.value == days.to_string()) => {
            fields.expires = days.to_string();
        }
        Ok(days) if (1..=MAX_DAYS).contains(&days) => {
            fields.expires = "custom".to_owned();
            fields.expires_on = now.plus(days * DAY).in_zone(&zone).date().to_string();
        }
        _ if wish == "never" && choices.never => fields.expires = "never".to_owned(),
        _ => {}
    }
}

fn page(
    request: &HttpRequest,
    member: &Member,
    choices: Choices,
    fields: KeyFields,
    complaints: Complaints,
    status: StatusCode,
) -> Result<HttpResponse, Problem> {
    let view = CreatePage {
        layout: Layout::of(request, Room::Keys),
        org: Place::of(&member.org),
        complaints,
        choices,
        zone: member.person.zone_name(),
        nonce: random_base62(22)?.to_string(),
        fields,
    };
    html(status, &view)
}

impl CreatePage {
    /// What the server can already say of the key, where no script says it live.
    fn summary(&self) -> Option<String> {
        let phrases: Vec<&str> = self
            .choices
            .scopes
            .iter()
            .filter(|scope| self.fields.has(scope))
            .map(|scope| scope.phrase())
            .collect();
        let (last, first) = phrases.split_last()?;
        if self.fields.name.trim().is_empty() || !self.complaints.is_empty() {
            return None;
        }
        let list =
            if first.is_empty() { (*last).to_owned() } else { format!("{} and {last}", first.join(", ")) };
        Some(format!(
            "{} may {list}, at most {} times a minute.",
            self.fields.name.trim(),
            words::number(self.fields.rpm())
        ))
    }
}
