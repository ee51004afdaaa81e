//! The fields of a key, as the pages for creating and editing show them.

use ipnet::IpNet;
use jiff::tz::TimeZone;

use crate::error::{Error, FieldError};
use crate::keys::draft::Expiry;
use crate::orgs::policy::Policy;
use crate::portal::kit::words;
use crate::role::Role;
use crate::scope::{Scope, Scopes};
use crate::time::{DAY, Time};
use crate::web::form::{Complaints, Fields};
use crate::web::problem::Problem;

/// Days after which a key may be asked to end with one click.
const PRESETS: [i64; 4] = [7, 30, 90, 180];

/// The values of the fields, as typed.
#[derive(Clone, Default)]
pub struct KeyFields {
    /// `name`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `scopes`, by name.
    pub scopes: Vec<String>,
    /// `expires`: days, `custom`, `never` or `keep`.
    pub expires: String,
    /// `expires_on`: a date.
    pub expires_on: String,
    /// `requests_per_minute`.
    pub requests_per_minute: String,
    /// `allowed_ips`, a network a line.
    pub allowed_ips: String,
}

/// A way to end that can be chosen.
pub struct ExpiryChoice {
    /// The value of the radio button.
    pub value: String,
    pub label: String,
    /// The date that comes of it.
    pub date: String,
    /// Date and time, for the summary.
    pub until: String,
}

impl KeyFields {
    /// The fields of a submitted form.
    pub fn submitted(fields: &Fields) -> KeyFields {
        KeyFields {
            name: fields.get("name").to_owned(),
            description: fields.get("description").to_owned(),
            scopes: fields.all("scopes"),
            expires: fields.get("expires").to_owned(),
            expires_on: fields.get("expires_on").to_owned(),
            requests_per_minute: fields.get("requests_per_minute").to_owned(),
            allowed_ips: fields.get("allowed_ips").to_owned(),
        }
    }

    /// Whether the scope is ticked.
    pub fn has(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|name| name == scope.name())
    }

    /// When the key is asked to end; `None` is as it was.
    pub fn expiry(&self, zone: &TimeZone) -> Result<Option<Expiry>, FieldError> {
        match self.expires.as_str() {
            "keep" => Ok(None),
            "never" => Ok(Some(Expiry::Never)),
            "custom" => {
                let date = self.expires_on.parse().ok();
                let end = date.and_then(|date| Time::end_of_day(date, zone));
                end.map(|end| Some(Expiry::At(end)))
                    .ok_or_else(|| FieldError::new("expires", "Choose a date for the custom expiration."))
            }
            days => {
                let days =
                    days.parse().map_err(|_| FieldError::new("expires", "Choose when the key expires."))?;
                Ok(Some(Expiry::InDays(days)))
            }
        }
    }

    /// The limit as a number; what is none is refused as out of range.
    pub fn rpm(&self) -> i64 {
        self.requests_per_minute.trim().replace(',', "").parse().unwrap_or(0)
    }

    /// The networks, one each.
    pub fn networks(&self) -> Vec<String> {
        self.allowed_ips
            .split(|letter: char| letter.is_whitespace() || letter == ',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The folded limits in one line.
    pub fn limits_line(&self) -> String {
        let addresses = match self.networks().len() {
            0 => "any address".to_owned(),
            some => words::count(i64::try_from(some).unwrap_or(0), "network", "networks"),
        };
        format!("Limits: {} requests a minute, {addresses}", words::number(self.rpm()))
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
    /// What is chosen at first, as the value of a radio button.
    pub preselected: String,
    /// The dates that a custom expiry may name, as `min` and `max` of its field.
    pub range: (String, String),
    /// What the policy says about ends, where it says more than the contract.
    pub longest: Option<String>,
    /// Requests a minute that are given at first.
    pub default_rpm: u32,
    /// The most that can be chosen.
    pub most_rpm: u32,
    /// Whether an admin could allow more.
    pub more_on_request: bool,
}

impl Choices {
    /// For someone in `role`, about a key that may end at `latest`; `configured_rpm` is what the
    /// server is configured for.
    pub fn new(
        policy: &Policy,
        role: Role,
        latest: Time,
        now: Time,
        zone: &TimeZone,
        configured_rpm: u32,
    ) -> Choices {
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
            // A custom date counts to its end, so the day of the latest end itself is too late.
            range: (day(now), day(latest.plus(-DAY).max(now))),
            longest: policy
                .rules
                .longest_days
                .map(|days| format!("Keys live at most {} here.", words::count(days, "day", "days"))),
            default_rpm: policy.default_rpm(configured_rpm),
            most_rpm,
            more_on_request: most_rpm < policy.rules.largest_rpm,
        }
    }

    /// The same with the scopes that a key holds already.
    pub fn with_held(mut self, policy: &Policy, role: Role, held: Scopes) -> Choices {
        self.scopes = offered(policy.grantable(role), held);
        self
    }

    /// What stands below the field of requests a minute.
    pub fn rpm_hint(&self) -> String {
        let most = words::number(self.most_rpm.into());
        if self.more_on_request {
            format!("At most {most}. Ask for more on the key’s page.")
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
            label: words::count(days, "day", "days"),
            date: words::date(end, zone),
            until: words::date_time(end, zone),
        }
    }
}

/// Networks, one a line.
pub fn network_lines(networks: &[IpNet]) -> String {
    networks.iter().map(IpNet::to_string).collect::<Vec<_>>().join("\n")
}

/// The scopes that a role may grant, or that the key has already.
fn offered(grantable: Scopes, held: Scopes) -> Vec<Scope> {
    Scope::ALL.into_iter().filter(|scope| grantable.has(*scope) || held.has(*scope)).collect()
}

/// What the domain says is wrong with fields, for the form; everything else is a problem.
pub fn complaints(error: Error) -> Result<Complaints, Problem> {
    let message = error.to_string();
    match error {
        Error::Invalid(errors) => {
            let field = |field| {
                if field == "expires_at" { "expires" } else { field }
            };
            Ok(Complaints(
                errors.into_iter().map(|error| FieldError { field: field(error.field), ..error }).collect(),
            ))
        }
        Error::NameTaken(_) => Ok(Complaints(vec![FieldError::new("name", message)])),
        Error::ScopeNotGrantable(_) => Ok(Complaints(vec![FieldError::new("scopes", message)])),
        other => Err(other.into()),
    }
}
