//! The page for creating a key.

use actix_web::HttpResponse;
use askama::Template;

use crate::crypto::random_base62;
use crate::error::{Error, FieldError};
use crate::keys::input::{Expiry, NewKeyInput};
use crate::keys::name::Name;
use crate::keys::{Key, lifecycle, store};
use crate::orgs::policy::{self, MAX_DAYS, Policy};
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::fields::{self, Choices, KeyForm};
use crate::portal::keys::reveal::{self, Again};
use crate::portal::kit::visit::Visit;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::web::form::{Fields, FormErrors};
use crate::web::idempotency::Claim;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/keys/create.html")]
struct CreatePage {
    layout: Layout,
    org: OrgLink,
    fields: KeyForm,
    form_errors: FormErrors,
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
    page(&visit, choices, fields, FormErrors::default())
}

/// `POST /o/{org}/keys`: makes the key and answers with the page that shows it.
///
/// An exception to the rule that a POST leads on to a GET: the secret is nowhere else, and
/// no URL may show it again.
pub async fn submit(visit: Visit, submitted: Fields) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let claim = claim(&visit, &submitted);
    let fields = KeyForm(submitted);
    let new = match input(&fields, &visit).check(now) {
        Ok(new) => new,
        Err(mut errors) => {
            let (choices, taken) = choices_and_taken_name(&visit, fields.get("name")).await?;
            // Report a taken name together with the other errors.
            errors.splice(0..0, taken);
            let form_errors = fields::form_errors(Error::Invalid(errors))?;
            return page(&visit, choices, fields, form_errors);
        }
    };
    let defaults = visit.site.defaults.clone();
    let _place = match claim.as_ref().map(|claim| visit.site.running.enter(claim)).transpose() {
        Ok(place) => place,
        // Sent twice at once: the first answer shows the key.
        Err(_) => return reveal::again(&visit, Again::Running),
    };
    let made = visit.change(move |tx, acting| {
        reveal::once(tx, claim.as_ref(), &defaults.keyring, now, Again::Key, |tx| {
            lifecycle::create(tx, acting, &defaults, &new)
        })
    });
    match made.await {
        Ok(Ok((key, secret))) => reveal::show(&visit, &key, &secret),
        Ok(Err(again)) => reveal::again(&visit, again),
        Err(error) => {
            let form_errors = fields::form_errors(error)?;
            let (choices, _) = choices_and_taken_name(&visit, "").await?;
            page(&visit, choices, fields, form_errors)
        }
    }
}

/// What the organisation's policy lets the member choose.
fn choices(visit: &Visit, policy: &Policy) -> Choices {
    let latest = policy.latest_end(visit.now);
    Choices::new(policy, visit.role, latest, visit.now, &visit.zone, &visit.site.defaults)
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
fn claim(visit: &Visit, form: &Fields) -> Option<Claim> {
    Claim::of_form(&visit.site.defaults.keyring, visit.org.id, visit.person.id, "POST /o/keys", form)
}

fn input(form: &KeyForm, member: &Member) -> NewKeyInput {
    let expiry = form.expiry(&member.person.time_zone());
    let expiry = expiry.unwrap_or(Expiry::Invalid("Choose when the key expires."));
    NewKeyInput {
        name: form.get("name").to_owned(),
        description: form.get("description").to_owned(),
        scopes: form.0.all("scopes"),
        expiry: ("expires", expiry),
        owner: None,
        backup: None,
        settings: form.settings(),
    }
}

/// The form as it is first shown: the defaults, then the values of the key to copy, then those of the query.
fn prefilled(query: &Fields, source: Option<&Key>, choices: &Choices, now: Time, member: &Member) -> KeyForm {
    let mut form = KeyForm::default();
    form.set_settings(&choices.defaults);
    form.0.set("scopes", [Scope::InferenceRead.name()]);
    form.0.set("expires", [&choices.preselected]);
    if let Some(key) = source {
        form = KeyForm::of(key);
        // The name of a key that has ended is free again.
        form.0.set("name", key.status(now).is_ended().then_some(&key.name));
        let limit = key.settings.requests_per_minute.get().min(choices.most_rpm);
        form.0.set("requests_per_minute", [limit.to_string()]);
        form.0.set("expires", [&choices.preselected]);
        let days = key.expires_at.map(|end| end.since(key.created_at) / DAY);
        let wish = days.map_or_else(|| "never".to_owned(), |days| days.to_string());
        set_expiry(&mut form, &wish, choices, now, member);
    }
    for (name, _) in query.pairs() {
        let text = query.get(name);
        match name.as_str() {
            "from" => {}
            "expires" => set_expiry(&mut form, text, choices, now, member),
            "scopes" => {
                let names = query.all(name);
                let names = names.iter().flat_map(|text| text.split([',', ' ']));
                form.0.set(name, names.filter(|name| !name.is_empty()));
            }
            _ => form.0.set(name, [text.chars().take(2000).collect::<String>()]),
        }
    }
    form
}

fn set_expiry(form: &mut KeyForm, wish: &str, choices: &Choices, now: Time, member: &Member) {
    let zone = member.person.time_zone();
    match wish.parse::<i64>() {
        Ok(days) if choices.presets.iter().any(|preset| preset.value == days.to_string()) => {
            form.0.set("expires", [days.to_string()]);
        }
        Ok(days) if (1..=MAX_DAYS).contains(&days) => {
            form.0.set("expires", ["custom"]);
            form.0.set("expires_on", [now.plus(days * DAY).in_zone(&zone).date().to_string()]);
        }
        _ if wish == "never" && choices.never => form.0.set("expires", ["never"]),
        _ => {}
    }
}

fn page(
    visit: &Visit,
    choices: Choices,
    fields: KeyForm,
    form_errors: FormErrors,
) -> Result<HttpResponse, Problem> {
    let view = CreatePage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        form_errors,
        choices,
        zone: visit.zone_name(),
        nonce: random_base62(22)?.to_string(),
        fields,
    };
    visit.form(&view.form_errors, &view)
}

impl CreatePage {
    /// What the key will be able to do; shown if no script updates the summary.
    fn summary(&self) -> Option<String> {
        self.fields.summary(&self.choices).filter(|_| self.form_errors.is_empty())
    }
}
