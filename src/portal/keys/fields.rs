//! The fields of a key, as the pages for creating and editing show them.

use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::catalogue::current::CurrentCatalogue;
use crate::catalogue::list::ModelList;
use crate::error::{Error, FieldError};
use crate::keys::Key;
use crate::keys::input::Expiry;
use crate::keys::lifecycle::KeyDefaults;
use crate::keys::settings::{KeySettings, SettingsInput};
use crate::orgs::policy::Policy;
use crate::portal::kit::models::{self, ModelChoice};
use crate::portal::kit::{date_field, format};
use crate::role::Role;
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};
use crate::web::form::{Fields, FormErrors};
use crate::web::problem::Problem;

/// Preset lifetimes, in days.
const PRESETS: [i64; 4] = [7, 30, 90, 180];

/// The sentence about the key that a form describes. Its placeholders are filled in here and by `app.js`.
pub const SUMMARY: &str = "{name} can {acts} {until}, limited to {limit} requests a minute.";

/// The fields of a key's form, as submitted. `expires` holds days, `custom`, `never` or `keep`;
/// `expires_on` the custom date.
#[derive(Clone, Default)]
pub struct KeyForm(pub Fields);

/// An expiry that can be chosen.
pub struct ExpiryChoice {
    /// The value of the radio button.
    pub value: String,
    pub label: String,
    /// The date of the expiry.
    pub date: String,
    /// Date and time, for the summary.
    pub until: String,
}

impl KeyForm {
    /// The description, scopes and settings of a key.
    pub fn of(key: &Key) -> KeyForm {
        let mut form = Fields::default();
        form.set("description", [&key.description]);
        form.set("scopes", key.scopes.names());
        let mut form = KeyForm(form);
        form.set_settings(&key.settings);
        form
    }

    /// Fills in the fields of settings.
    pub fn set_settings(&mut self, settings: &KeySettings) {
        for (name, text) in settings.form_fields() {
            self.0.set(name, [text]);
        }
        if settings.models.is_none() {
            self.0.set("models", [models::ALL]);
        }
    }

    /// The field of models.
    pub fn models(&self, choices: &Choices) -> ModelChoice {
        ModelChoice::new(self.0.all("models"), &choices.catalogue, choices.models.as_ref())
    }

    /// The text in a field.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name)
    }

    /// Whether the scope is ticked.
    pub fn has(&self, scope: &Scope) -> bool {
        self.0.all("scopes").iter().any(|name| name == scope.name())
    }

    /// The settings of those fields that were submitted.
    pub fn settings(&self) -> SettingsInput {
        SettingsInput::from_form(|name| self.0.has(name).then(|| self.0.all(name)))
    }

    /// The chosen expiry; `None` keeps the current one.
    pub fn expiry(&self, zone: &TimeZone) -> Option<Expiry> {
        Some(match self.get("expires") {
            "keep" => return None,
            "never" => Expiry::Never,
            "custom" => {
                let end = date_field::parse(self.get("expires_on"))
                    .and_then(|date| Time::end_of_day(date, zone).ok_or(date_field::NO_DATE));
                end.map_or_else(Expiry::Invalid, Expiry::At)
            }
            days => days.parse().map_or(Expiry::Invalid("Choose when the key expires."), Expiry::InDays),
        })
    }

    /// The summary of the collapsed limits.
    pub fn limits_line(&self) -> String {
        let settings = self.settings();
        let limit = format::number(settings.requests_per_minute.unwrap_or_default());
        let addresses = match settings.allowed_ips.unwrap_or_default().len() {
            0 => "any address".to_owned(),
            some => format::count(i64::try_from(some).unwrap_or(0), "network", "networks"),
        };
        let models = match settings.models.unwrap_or_default().0 {
            None => "all models".to_owned(),
            Some(names) => format::count(i64::try_from(names.len()).unwrap_or(0), "model", "models"),
        };
        format!("Limits: {limit} requests a minute, {addresses}, {models}")
    }

    /// What a key with these values can do, in one sentence; `None` while its name or scopes are missing.
    pub fn summary(&self, choices: &Choices) -> Option<String> {
        let ticked = choices.scopes.iter().filter(|scope| self.has(scope));
        let acts: Vec<&str> = ticked.map(|scope| scope.phrase()).collect();
        let (last, others) = acts.split_last()?;
        let name = self.get("name").trim();
        if name.is_empty() {
            return None;
        }
        let acts = match others {
            [] => (*last).to_owned(),
            _ => format!("{} and {last}", others.join(", ")),
        };
        let preset = choices.presets.iter().find(|preset| preset.value == self.get("expires"));
        let until = match (self.get("expires"), preset) {
            ("never", _) => "indefinitely".to_owned(),
            ("custom", _) if !self.get("expires_on").is_empty() => {
                format!("until {}", self.get("expires_on"))
            }
            (_, Some(preset)) => format!("until {}", preset.until),
            _ => "until the day you choose".to_owned(),
        };
        let limit = format::number(self.settings().requests_per_minute.unwrap_or_default());
        let placeholders =
            [("{acts}", acts), ("{until}", until), ("{limit}", limit), ("{name}", name.to_owned())];
        // The name comes last: it may look like a placeholder.
        let filled =
            |sentence: String, (placeholder, value): (&str, String)| sentence.replace(placeholder, &value);
        Some(placeholders.into_iter().fold(SUMMARY.to_owned(), filled))
    }
}

/// What the organisation's policy lets someone choose for a key.
pub struct Choices {
    /// The scopes to tick.
    pub scopes: Vec<Scope>,
    /// Ends to choose with one click.
    pub presets: Vec<ExpiryChoice>,
    /// Whether the key may live without an end.
    pub never: bool,
    /// The preselected radio button, by its value.
    pub preselected: String,
    /// The dates that a custom expiry may name, as `min` and `max` of its field.
    pub range: (String, String),
    /// The maximum lifetime, if the policy restricts it.
    pub longest: Option<String>,
    /// The settings of a new key where nothing else is chosen.
    pub defaults: KeySettings,
    /// The most that can be chosen.
    pub most_rpm: u32,
    /// Whether an admin could allow more.
    pub more_on_request: bool,
    /// The models that the policy allows; `None` is all.
    pub models: Option<ModelList>,
    pub catalogue: Arc<CurrentCatalogue>,
}

impl Choices {
    /// For someone in `role`, about a key that may end at `latest`; `defaults` are those of the server.
    pub fn new(
        policy: &Policy,
        role: Role,
        latest: Time,
        now: Time,
        zone: &TimeZone,
        defaults: &KeyDefaults,
    ) -> Choices {
        let configured_rpm = defaults.default_rpm;
        let preselected = policy.rules.default_days;
        let mut days: Vec<i64> = PRESETS.into_iter().chain(preselected).collect();
        days.sort_unstable();
        days.dedup();
        days.retain(|days| now.plus(days * DAY) <= latest);
        let never = policy.allows_never(role);
        let preselected = match preselected {
            None if never => "never".to_owned(),
            Some(wanted) if days.contains(&wanted) => wanted.to_string(),
            _ => days.last().map_or_else(|| "custom".to_owned(), i64::to_string),
        };
        let day = |at: Time| at.in_zone(zone).date().to_string();
        let most_rpm = policy.most_rpm(role, configured_rpm);
        Choices {
            scopes: offered(policy.grantable(role), Scopes::NONE),
            presets: days.into_iter().map(|days| ExpiryChoice::new(days, now, zone)).collect(),
            never,
            preselected,
            // A key works until the end of a custom date, so the day of the latest expiry is too late.
            range: (day(now), day(latest.plus(-DAY).max(now))),
            longest: policy
                .rules
                .longest_days
                .map(|days| format!("The key policy allows at most {}.", format::count(days, "day", "days"))),
            defaults: KeySettings::new(policy, configured_rpm),
            most_rpm,
            more_on_request: most_rpm < policy.rules.largest_rpm,
            models: policy.rules.models(role).cloned(),
            catalogue: defaults.catalogue.clone(),
        }
    }

    /// The same with the scopes that a key holds already.
    pub fn with_held(mut self, policy: &Policy, role: Role, held: Scopes) -> Choices {
        self.scopes = offered(policy.grantable(role), held);
        self
    }

    /// The label of the choice of all models.
    pub fn all_models(&self) -> &'static str {
        if self.models.is_some() { "Every model that the policy lets members call" } else { "Every model" }
    }

    /// The hint of the field for the limit.
    pub fn rpm_hint(&self) -> String {
        let most = format::number(self.most_rpm.into());
        if self.more_on_request {
            format!("At most {most}. You can request more on the key’s page.")
        } else {
            format!("At most {most}.")
        }
    }
}

impl ExpiryChoice {
    fn new(days: i64, now: Time, zone: &TimeZone) -> ExpiryChoice {
        let end = now.plus(days * DAY);
        ExpiryChoice {
            value: days.to_string(),
            label: format::count(days, "day", "days"),
            date: format::date(end, zone),
            until: format::date_time(end, zone),
        }
    }
}

/// The scopes that a role may grant, or that the key has already.
fn offered(grantable: Scopes, held: Scopes) -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| grantable.has(*scope) || held.has(*scope)).collect()
}

/// The errors about fields, for the form; every other error is a problem.
pub fn form_errors(error: Error) -> Result<FormErrors, Problem> {
    let message = error.to_string();
    match error {
        Error::Invalid(errors) => {
            let field = |field| {
                if field == "expires_at" { "expires" } else { field }
            };
            Ok(FormErrors(
                errors.into_iter().map(|error| FieldError { field: field(error.field), ..error }).collect(),
            ))
        }
        Error::NameTaken(_) => Ok(FormErrors(vec![FieldError::new("name", message)])),
        Error::ScopeNotGrantable(_) => Ok(FormErrors(vec![FieldError::new("scopes", message)])),
        other => Err(other.into()),
    }
}
