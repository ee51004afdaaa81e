//! The page for creating a key.

use actix_web::HttpResponse;
use askama::Template;

use crate::crypto::random_base62;
use crate::error::{Error, FieldError};
use crate::keys::draft::{Expiry, RawDraft};
use crate::keys::name::Name;
use crate::keys::{Key, lifecycle, store};
use crate::orgs::policy::{self, MAX_DAYS, Policy};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::fields::{self, Choices, KeyFields};
use crate::portal::keys::reveal::{self, Again};
use crate::portal::kit::visit::Visit;
use crate::portal::kit::words;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::web::form::{Complaints, Fields};
use crate::web::idempotency::{Claim, Refused};
use crate::web::page::{Layout, Place, Room};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/keys/create.html")]
struct CreatePage {
    layout: Layout,
    org: Place,
    fields: KeyFields,
    complaints: Complaints,
    choices: Choices,
    zone: String,
    /// Identifies the form, so that submitting it twice has one effect.
    nonce: String,
}

/// `GET /o/{org}/keys/new`: empty, or filled from the query or from another key.
pub async fn form(visit: Visit) -> Result<HttpResponse, Problem> {
    let query = visit.query();
    let source = match query.get("from") {
        "" => None,
        id => Some(RequestedKey::of(&visit, id)?),
    };
    let org = visit.org.id;
    let found = visit.read(move |conn| {
        let source = source.map(|source| source.find(conn)).transpose()?;
        Ok((source, policy::store::find(conn, org)?))
    });
    let (source, policy) = found.await?;
    let choices = choices(&visit, &policy);
    let fields = prefilled(&query, source.as_ref(), &choices, visit.now, &visit);
    page(&visit, choices, fields, Complaints::default())
}

/// `POST /o/{org}/keys`: makes the key and answers with the page that shows it.
///
/// An exception to the rule that a POST leads on to a GET: the secret is nowhere else, and
/// no URL may show it again.
pub async fn submit(visit: Visit, submitted: Fields) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let fields = KeyFields::submitted(&submitted);
    let draft = match draft(&fields, &visit).check(now) {
        Ok(draft) => draft,
        Err(mut errors) => {
            let (choices, taken) = choices_and_taken_name(&visit, &fields.name).await?;
            // Report a taken name together with the other errors.
            errors.splice(0..0, taken);
            let complaints = fields::complaints(Error::Invalid(errors))?;
            return page(&visit, choices, fields, complaints);
        }
    };
    let mint = visit.site.mint.clone();
    let claim = claim(&visit, &submitted, &fields);
    let _place = match claim.as_ref().map(|claim| visit.site.running.enter(claim)).transpose() {
        Ok(place) => place,
        // Sent twice at once: the first answer shows the key.
        Err(_) => return reveal::again(&visit, Again::Running),
    };
    let made = visit.change(move |tx, acting| {
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
            // Only the id is stored: this page never shows a secret twice.
            claim.keep(tx, &mint.keyring, &key.id.to_string(), "")?;
        }
        Ok(Ok((key, secret)))
    });
    match made.await {
        Ok(Ok((key, secret))) => reveal::show(&visit, &key, &secret),
        Ok(Err(again)) => reveal::again(&visit, again),
        Err(error) => {
            let complaints = fields::complaints(error)?;
            let (choices, _) = choices_and_taken_name(&visit, "").await?;
            page(&visit, choices, fields, complaints)
        }
    }
}

/// What the organisation's policy lets the member choose.
fn choices(visit: &Visit, policy: &Policy) -> Choices {
    let latest = policy.latest_end(visit.now);
    Choices::new(policy, visit.role, latest, visit.now, &visit.zone, visit.site.mint.default_rpm)
}

/// The choices of a form with errors, and the error about a name that another key has.
async fn choices_and_taken_name(visit: &Visit, name: &str) -> Result<(Choices, Option<FieldError>), Problem> {
    let (org, now, name) = (visit.org.id, visit.now, Name::parse(name).ok());
    let found = visit.read(move |conn| {
        let taken = match name {
            Some(name) => store::by_living_name(conn, org, name.as_str(), now)?.map(|_| name),
            None => None,
        };
        Ok((policy::store::find(conn, org)?, taken))
    });
    let (policy, taken) = found.await?;
    let error = |name: Name| FieldError::new("name", Error::NameTaken(name.as_str().to_owned()).to_string());
    Ok((choices(visit, &policy), taken.map(error)))
}

/// Identifies this form with these values from this person.
fn claim(visit: &Visit, submitted: &Fields, fields: &KeyFields) -> Option<Claim> {
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
    let (proof, name) = (visit.person.id.to_string(), format!("{nonce}:{digest}"));
    Some(Claim::new(&visit.site.mint.keyring, visit.org.id, &proof, "POST /o/keys", &name, text.as_bytes()))
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
    visit: &Visit,
    choices: Choices,
    fields: KeyFields,
    complaints: Complaints,
) -> Result<HttpResponse, Problem> {
    let view = CreatePage {
        layout: visit.layout(Room::Keys),
        org: visit.place(),
        complaints,
        choices,
        zone: visit.zone_name(),
        nonce: random_base62(22)?.to_string(),
        fields,
    };
    visit.form(&view.complaints, &view)
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
