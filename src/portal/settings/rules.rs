//! The fields of a policy: parsing, and marking changes.

use jiff::tz::TimeZone;

use crate::catalogue::list::ModelList;
use crate::error::FieldError;
use crate::keys::settings::ModelNames;
use crate::orgs::policy::{NeverExpire, Policy, Rules};
use crate::portal::kit::{date_field, format, models};
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};
use crate::web::form::Fields;

/// The lifetimes to choose from, in days.
const LIVES: [i64; 8] = [7, 14, 30, 60, 90, 180, 365, 730];
/// The default number of days until a change applies to existing keys.
const WAIT: i64 = 30;

/// The values of the fields, as typed.
#[derive(Clone, Default)]
pub struct PolicyFields {
    /// Days; empty for no limit.
    pub longest: String,
    pub never: String,
    /// Days, or `never`.
    pub default_expiry: String,
    /// Names of scopes.
    pub member_scopes: Vec<String>,
    /// Empty for the server's default.
    pub default_rpm: String,
    pub largest_rpm: String,
    /// `*` for all models, or names.
    pub member_models: Vec<String>,
    pub date: String,
}

/// A lifetime to choose.
pub struct Life {
    pub value: String,
    pub label: String,
}

impl PolicyFields {
    /// The fields of the current policy.
    pub fn of(policy: &Policy, now: Time, zone: &TimeZone) -> PolicyFields {
        let rules = &policy.rules;
        let waiting = policy.earlier.as_ref().map(|earlier| earlier.until).filter(|until| now < *until);
        let date = waiting.unwrap_or(now.plus(WAIT * DAY));
        PolicyFields {
            longest: rules.longest_days.map_or_else(String::new, |days| days.to_string()),
            never: rules.never.name().to_owned(),
            default_expiry: rules.default_days.map_or_else(|| "never".to_owned(), |days| days.to_string()),
            member_scopes: rules.member_scopes.names().into_iter().map(str::to_owned).collect(),
            default_rpm: rules.default_rpm.map_or_else(String::new, |rpm| rpm.to_string()),
            largest_rpm: rules.largest_rpm.to_string(),
            member_models: rules
                .member_models
                .as_ref()
                .map_or_else(|| vec![models::ALL.to_owned()], ModelList::texts),
            date: date.in_zone(zone).date().to_string(),
        }
    }

    /// The fields of a submitted form.
    pub fn submitted(fields: &Fields) -> PolicyFields {
        PolicyFields {
            longest: fields.get("longest").to_owned(),
            never: fields.get("never").to_owned(),
            default_expiry: fields.get("default_expiry").to_owned(),
            member_scopes: fields.all("member_scopes"),
            default_rpm: fields.get("default_rpm").to_owned(),
            largest_rpm: fields.get("largest_rpm").to_owned(),
            // A form without the field is one from before there was such a rule.
            member_models: if fields.has("member_models") {
                fields.all("member_models")
            } else {
                vec![models::ALL.to_owned()]
            },
            date: fields.get("date").to_owned(),
        }
    }

    /// The rules, and the date on which they apply to existing keys. Errors: all invalid fields.
    pub fn parse(&self, zone: &TimeZone) -> Result<(Rules, Time), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut number = |field: &'static str, text: &str| {
            let number = text.trim().replace(',', "").parse::<i64>().ok();
            number.unwrap_or_else(|| {
                errors.push(FieldError::new(field, "Enter a whole number."));
                1
            })
        };
        let longest_days = (!self.longest.is_empty()).then(|| number("longest", &self.longest));
        let default_days =
            (self.default_expiry != "never").then(|| number("default_expiry", &self.default_expiry));
        let default_rpm =
            (!self.default_rpm.trim().is_empty()).then(|| number("default_rpm", &self.default_rpm));
        let largest_rpm = number("largest_rpm", &self.largest_rpm);
        let member_scopes: Option<Scopes> =
            self.member_scopes.iter().map(|name| Scope::parse(name)).collect();
        if member_scopes.is_none() {
            errors.push(FieldError::new("member_scopes", "Choose from the scopes shown."));
        }
        let member_models =
            ModelNames::of_form(self.member_models.clone()).check().unwrap_or_else(|message| {
                errors.push(FieldError::new("member_models", message));
                None
            });
        let never = NeverExpire::parse(&self.never).unwrap_or_else(|| {
            errors.push(FieldError::new("never", "Choose who can create keys without an expiry date."));
            NeverExpire::Nobody
        });
        let date = date_field::parse(&self.date).ok();
        let date = date.and_then(|date| Time::start_of(date, zone)).unwrap_or_else(|| {
            errors.push(FieldError::new("date", date_field::NO_DATE));
            Time::from_seconds(0)
        });
        let small = |number: i64| u32::try_from(number).unwrap_or(0);
        let rules = Rules {
            longest_days,
            never,
            default_days,
            member_scopes: member_scopes.unwrap_or_default(),
            default_rpm: default_rpm.map(small),
            largest_rpm: small(largest_rpm),
            member_models,
        };
        // Skip rule errors for fields that failed to parse.
        for error in rules.check().err().into_iter().flatten() {
            if errors.iter().all(|known| known.field != error.field) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok((rules, date)) } else { Err(errors) }
    }

    /// Whether the scope is ticked.
    pub fn has(&self, scope: &Scope) -> bool {
        self.member_scopes.iter().any(|name| name == scope.name())
    }

    /// The choices for the longest lifetime.
    pub fn longest_lives(&self) -> Vec<Life> {
        let none = Life { value: String::new(), label: "Up to 10 years".to_owned() };
        std::iter::once(none).chain(lives(&self.longest)).collect()
    }

    /// The choices for the default lifetime.
    pub fn default_lives(&self) -> Vec<Life> {
        let never = Life { value: "never".to_owned(), label: "Never".to_owned() };
        lives(&self.default_expiry).chain(std::iter::once(never)).collect()
    }
}

/// The usual lifetimes, and the current one.
fn lives(chosen: &str) -> impl Iterator<Item = Life> {
    let mut days: Vec<i64> = LIVES.into_iter().chain(chosen.parse()).collect();
    days.sort_unstable();
    days.dedup();
    days.into_iter().map(|days| Life { value: days.to_string(), label: format::count(days, "day", "days") })
}

/// The old value of each changed field or scope, by its name.
pub fn marks(rules: &Rules, fields: &PolicyFields) -> Vec<(&'static str, String)> {
    let days = |days: Option<i64>, none: &str| {
        days.map_or_else(|| none.to_owned(), |days| format::count(days, "day", "days"))
    };
    let as_it_is = PolicyFields::of(
        &Policy { rules: rules.clone(), ..Policy::default() },
        Time::from_seconds(0),
        &TimeZone::UTC,
    );
    let number = |text: &str| text.trim().replace(',', "");
    let rpm = rules.default_rpm.map_or_else(|| "not set".to_owned(), |rpm| format::number(rpm.into()));
    let never = match rules.never {
        NeverExpire::Nobody => "not allowed",
        NeverExpire::Admins => "admins only",
        NeverExpire::Everyone => "everyone",
    };
    let names = |fields: &PolicyFields| ModelNames::of_form(fields.member_models.clone()).0;
    let models = match &rules.member_models {
        None => "every model".to_owned(),
        Some(list) => format::count(i64::try_from(list.names().count()).unwrap_or(0), "model", "models"),
    };
    let plain = [
        ("longest", as_it_is.longest != fields.longest, days(rules.longest_days, "up to 10 years")),
        ("never", as_it_is.never != fields.never, never.to_owned()),
        (
            "default_expiry",
            as_it_is.default_expiry != fields.default_expiry,
            days(rules.default_days, "never"),
        ),
        ("default_rpm", as_it_is.default_rpm != number(&fields.default_rpm), rpm),
        (
            "largest_rpm",
            as_it_is.largest_rpm != number(&fields.largest_rpm),
            format::number(rules.largest_rpm.into()),
        ),
        ("member_models", names(&as_it_is) != names(fields), models),
    ];
    let scopes = Rules::offered_to_members().iter().map(|scope| {
        let was = rules.member_scopes.has(scope);
        (scope.name(), was != fields.has(&scope), if was { "on" } else { "off" }.to_owned())
    });
    let changed = plain.into_iter().chain(scopes).filter(|(_, changed, _)| *changed);
    changed.map(|(field, _, was)| (field, format!("was {was}"))).collect()
}
