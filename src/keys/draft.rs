//! What people and programs ask of a key, checked field by field.
//!
//! Every face fills the raw form and gets either a checked one or all complaints at once,
//! named by the members of the API.

use ipnet::IpNet;

use crate::config::parse_network;
use crate::error::FieldError;
use crate::keys::name::Name;
use crate::keys::secret::contains_key;
use crate::orgs::policy::{MAX_DAYS, MAX_RPM};
use crate::scope::{Scope, Scopes};
use crate::text::forbidden_character;
use crate::time::{DAY, Time};

/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// The longest reason for a revocation, in characters.
pub const MAX_REASON: usize = 500;
/// What is said to whoever writes a key where it would be stored and shown.
pub const KEY_IN_TEXT: &str = "This holds a whole API key. Leave it out, and revoke it if it is a real one.";
/// The most networks that a key can be bound to.
pub const MAX_NETWORKS: usize = 50;

/// When a key is asked to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// So many days of 86,400 seconds from now.
    InDays(i64),
    /// At that instant.
    At(Time),
    /// A text that names no instant.
    Unreadable,
}

impl Expiry {
    /// An instant as programs write it.
    pub fn parse(text: &str) -> Expiry {
        Time::parse(text).map_or(Expiry::Unreadable, Expiry::At)
    }

    fn check(&self, field: &'static str, now: Time) -> Result<Option<Time>, FieldError> {
        let at = match *self {
            Expiry::Never => return Ok(None),
            Expiry::InDays(days) if (1..=MAX_DAYS).contains(&days) => now.plus(days * DAY),
            Expiry::InDays(_) => {
                return Err(FieldError::new(field, format!("Use 1 to {MAX_DAYS} days.")));
            }
            Expiry::At(at) => at,
            Expiry::Unreadable => {
                return Err(FieldError::new(
                    field,
                    "Write a date and time with its offset, such as 2027-02-21T15:00:00Z.",
                ));
            }
        };
        if at.since(now) < 1 {
            return Err(FieldError::new(field, "Choose a time in the future."));
        }
        if at.since(now) > MAX_DAYS * DAY {
            return Err(FieldError::new(field, "Choose a time within the next 10 years."));
        }
        Ok(Some(at))
    }
}

/// A key as it is asked for.
#[derive(Clone, Debug)]
pub struct RawDraft {
    /// `name`.
    pub name: String,
    /// `description`.
    pub description: String,
    /// `scopes`, by name.
    pub scopes: Vec<String>,
    /// When it ends, with the field that said so.
    pub expiry: (&'static str, Expiry),
    /// `owner`, by id or address.
    pub owner: Option<String>,
    /// `backup`, by id or address.
    pub backup: Option<String>,
    /// `requests_per_minute`; the organisation's default if `None`.
    pub requests_per_minute: Option<i64>,
    /// `allowed_ips`, as texts.
    pub allowed_ips: Vec<String>,
    /// `self_rotate`.
    pub self_rotate: bool,
}

/// A key that can be made.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub description: String,
    /// What it may do: at least one scope.
    pub scopes: Scopes,
    /// When it ends; `None` is never.
    pub expires_at: Option<Time>,
    /// The field that said when it ends, for complaints.
    pub expiry_field: &'static str,
    /// Its owner by id or address; whoever makes it, if `None`.
    pub owner: Option<String>,
    /// Its backup by id or address.
    pub backup: Option<String>,
    /// Requests a minute; the organisation's default if `None`.
    pub requests_per_minute: Option<u32>,
    /// Networks it may be used from; none is any.
    pub allowed_ips: Vec<IpNet>,
    /// Whether it may replace its own secret.
    pub self_rotate: bool,
}

impl RawDraft {
    /// Checks everything that can be checked without the database.
    pub fn check(self, now: Time) -> Result<Draft, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = keep(&mut errors, check_name(&self.name));
        let description = keep(&mut errors, check_description(&self.description));
        let scopes = keep(&mut errors, check_scopes(&self.scopes));
        let (field, expiry) = self.expiry;
        let expires_at = keep(&mut errors, expiry.check(field, now));
        let requests_per_minute = keep(&mut errors, self.requests_per_minute.map(check_rpm).transpose());
        let allowed_ips = keep(&mut errors, check_networks(&self.allowed_ips));
        match (name, description, scopes, expires_at, requests_per_minute, allowed_ips) {
            (
                Some(name),
                Some(description),
                Some(scopes),
                Some(expires_at),
                Some(requests_per_minute),
                Some(allowed_ips),
            ) => Ok(Draft {
                name,
                description,
                scopes,
                expires_at,
                expiry_field: field,
                owner: self.owner,
                backup: self.backup,
                requests_per_minute,
                allowed_ips,
                self_rotate: self.self_rotate,
            }),
            _ => Err(errors),
        }
    }
}

/// Changes that are asked of a key; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct RawEdit {
    /// `description`.
    pub description: Option<String>,
    /// `scopes`, by name.
    pub scopes: Option<Vec<String>>,
    /// `expires_at`.
    pub expires_at: Option<Expiry>,
    /// `requests_per_minute`.
    pub requests_per_minute: Option<i64>,
    /// `allowed_ips`, as texts.
    pub allowed_ips: Option<Vec<String>>,
    /// `owner`, by id or address.
    pub owner: Option<String>,
    /// `backup`, by id or address; `Some(None)` removes it.
    pub backup: Option<Option<String>>,
    /// `disabled`.
    pub disabled: Option<bool>,
    /// `self_rotate`.
    pub self_rotate: Option<bool>,
}

/// Changes that can be made.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    /// What it is for.
    pub description: Option<String>,
    /// What it may do.
    pub scopes: Option<Scopes>,
    /// When it ends; `Some(None)` is never.
    pub expires_at: Option<Option<Time>>,
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Networks it may be used from.
    pub allowed_ips: Option<Vec<IpNet>>,
    /// Its owner by id or address.
    pub owner: Option<String>,
    /// Its backup by id or address.
    pub backup: Option<Option<String>>,
    /// Whether it is set aside.
    pub disabled: Option<bool>,
    /// Whether it may replace its own secret.
    pub self_rotate: Option<bool>,
}

impl RawEdit {
    /// Checks everything that can be checked without the database.
    pub fn check(self, now: Time) -> Result<Edit, Vec<FieldError>> {
        let mut errors = Vec::new();
        let edit = Edit {
            description: self.description.and_then(|text| keep(&mut errors, check_description(&text))),
            scopes: self.scopes.and_then(|scopes| keep(&mut errors, check_scopes(&scopes))),
            expires_at: self.expires_at.and_then(|expiry| keep(&mut errors, expiry.check("expires_at", now))),
            requests_per_minute: self.requests_per_minute.and_then(|rpm| keep(&mut errors, check_rpm(rpm))),
            allowed_ips: self.allowed_ips.and_then(|list| keep(&mut errors, check_networks(&list))),
            owner: self.owner,
            backup: self.backup,
            disabled: self.disabled,
            self_rotate: self.self_rotate,
        };
        if errors.is_empty() { Ok(edit) } else { Err(errors) }
    }
}

/// Checks a reason for a revocation; an empty one is none.
pub fn check_reason(text: &str) -> Result<Option<String>, FieldError> {
    check_text("reason", text, MAX_REASON).map(|text| (!text.is_empty()).then_some(text))
}

fn keep<T>(errors: &mut Vec<FieldError>, result: Result<T, FieldError>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

fn check_name(text: &str) -> Result<Name, FieldError> {
    if contains_key(text) {
        return Err(FieldError::new("name", KEY_IN_TEXT));
    }
    Name::parse(text).map_err(|message| FieldError::new("name", message))
}

fn check_description(text: &str) -> Result<String, FieldError> {
    check_text("description", text, MAX_DESCRIPTION)
}

pub(super) fn check_text(field: &'static str, text: &str, most: usize) -> Result<String, FieldError> {
    // Browsers send line breaks as CR LF; everything else that can't be seen is refused.
    let text = text.replace("\r\n", "\n").trim().to_owned();
    let length = text.chars().count();
    if length > most {
        return Err(FieldError::new(
            field,
            format!("Use at most {most} characters; this text has {length}."),
        ));
    }
    if contains_key(&text) {
        return Err(FieldError::new(field, KEY_IN_TEXT));
    }
    if text.chars().any(|letter| letter != '\n' && letter != '\t' && forbidden_character(letter)) {
        return Err(FieldError::new(
            field,
            "Leave out control characters and characters that change the direction of text.",
        ));
    }
    Ok(text)
}

fn check_scopes(names: &[String]) -> Result<Scopes, FieldError> {
    let known: Option<Scopes> =
        names.iter().map(|name| Scope::parse(name)).collect::<Option<Vec<_>>>().map(Scopes::from_iter);
    match known {
        Some(scopes) if !scopes.is_empty() => Ok(scopes),
        Some(_) => Err(FieldError::new("scopes", "Choose at least one scope.")),
        None => {
            let all = Scopes::all().names().join(", ");
            Err(FieldError::new("scopes", format!("Use only these scopes: {all}.")))
        }
    }
}

fn check_rpm(rpm: i64) -> Result<u32, FieldError> {
    u32::try_from(rpm)
        .ok()
        .filter(|rpm| (1..=MAX_RPM).contains(rpm))
        .ok_or_else(|| FieldError::new("requests_per_minute", "Use a number from 1 to 1,000,000."))
}

fn check_networks(texts: &[String]) -> Result<Vec<IpNet>, FieldError> {
    if texts.len() > MAX_NETWORKS {
        return Err(FieldError::new("allowed_ips", format!("Use at most {MAX_NETWORKS} networks.")));
    }
    texts
        .iter()
        .map(|text| {
            parse_network(text.trim()).map(|network| network.trunc()).ok_or_else(|| {
                FieldError::new(
                    "allowed_ips",
                    "Write addresses or networks such as 203.0.113.7 or 10.0.0.0/8.",
                )
            })
        })
        .collect()
}
