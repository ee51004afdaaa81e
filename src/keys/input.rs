//! What people and programs send to create or change a key, and the checks of each field.
//!
//! Each interface fills an input and gets either the checked values or all errors at once, named
//! after the fields of the API.

use crate::error::FieldError;
use crate::keys::name::Name;
use crate::keys::secret::contains_key;
use crate::keys::settings::{SettingsInput, SettingsPatch};
use crate::orgs::policy::MAX_DAYS;
use crate::scope::{Scope, Scopes};
use crate::text::is_forbidden;
use crate::time::{DAY, Time};

/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 500;
/// The longest reason for a revocation, in characters.
pub const MAX_REASON: usize = 500;
/// The error for a text that contains an API key, where it would be stored and shown.
pub const KEY_IN_TEXT: &str = "This holds a whole API key. Leave it out, and revoke it if it is a real one.";
/// The error for a text that is no date and time in RFC 3339 format.
pub const NO_INSTANT: &str = "Write a date and time with its offset, such as 2027-02-21T15:00:00Z.";

/// When a key is to expire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expiry {
    Never,
    /// This many days of 86,400 seconds from now.
    InDays(i64),
    At(Time),
    /// A text that can't be read, with what to do instead.
    Invalid(&'static str),
}

impl Expiry {
    /// Reads a date and time in RFC 3339 format.
    pub fn parse(text: &str) -> Expiry {
        Time::parse(text).map_or(Expiry::Invalid(NO_INSTANT), Expiry::At)
    }

    fn check(&self, field: &'static str, now: Time) -> Result<Option<Time>, FieldError> {
        let at = match *self {
            Expiry::Never => return Ok(None),
            Expiry::InDays(days) if (1..=MAX_DAYS).contains(&days) => now.plus(days * DAY),
            Expiry::InDays(_) => {
                return Err(FieldError::new(field, format!("Use 1 to {MAX_DAYS} days.")));
            }
            Expiry::At(at) => at,
            Expiry::Invalid(message) => return Err(FieldError::new(field, message)),
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

/// A key to create, as a person or a program sent it, not checked yet.
#[derive(Clone, Debug)]
pub struct NewKeyInput {
    pub name: String,
    pub description: String,
    /// The names of its scopes.
    pub scopes: Vec<String>,
    /// When it expires, with the field that says so.
    pub expiry: (&'static str, Expiry),
    /// Its owner, by id or e-mail address; the member who creates it, if `None`.
    pub owner: Option<String>,
    /// Its backup, by id or e-mail address.
    pub backup: Option<String>,
    pub settings: SettingsInput,
}

/// A key to create, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: Name,
    pub description: String,
    /// At least one scope.
    pub scopes: Scopes,
    /// When it expires; `None` is never.
    pub expires_at: Option<Time>,
    /// The field that says when it expires, for error messages.
    pub expiry_field: &'static str,
    /// Its owner, by id or e-mail address; the member who creates it, if `None`.
    pub owner: Option<String>,
    /// Its backup, by id or e-mail address.
    pub backup: Option<String>,
    pub settings: SettingsPatch,
}

impl NewKeyInput {
    /// Checks everything that can be checked without the database, and returns all errors at once.
    pub fn check(self, now: Time) -> Result<NewKey, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = keep(&mut errors, check_name(&self.name));
        let description = keep(&mut errors, check_description(&self.description));
        let scopes = keep(&mut errors, check_scopes(&self.scopes));
        let (expiry_field, expiry) = self.expiry;
        let expires_at = keep(&mut errors, expiry.check(expiry_field, now));
        let settings = self.settings.check(&mut errors);
        match (name, description, scopes, expires_at) {
            (Some(name), Some(description), Some(scopes), Some(expires_at)) if errors.is_empty() => {
                let (owner, backup) = (self.owner, self.backup);
                Ok(NewKey { name, description, scopes, expires_at, expiry_field, owner, backup, settings })
            }
            _ => Err(errors),
        }
    }
}

/// A change to a key, as a person or a program sent it, not checked yet. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct EditInput {
    pub description: Option<String>,
    /// The names of its scopes.
    pub scopes: Option<Vec<String>>,
    pub expires_at: Option<Expiry>,
    /// Its owner, by id or e-mail address.
    pub owner: Option<String>,
    /// Its backup, by id or e-mail address; `Some(None)` removes it.
    pub backup: Option<Option<String>>,
    pub disabled: Option<bool>,
    pub settings: SettingsInput,
}

/// A change to a key, checked as far as it can be without the database. What is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub description: Option<String>,
    /// At least one scope.
    pub scopes: Option<Scopes>,
    /// When it expires; `Some(None)` is never.
    pub expires_at: Option<Option<Time>>,
    /// Its owner, by id or e-mail address.
    pub owner: Option<String>,
    /// Its backup, by id or e-mail address; `Some(None)` removes it.
    pub backup: Option<Option<String>>,
    pub disabled: Option<bool>,
    pub settings: SettingsPatch,
}

impl EditInput {
    /// Checks everything that can be checked without the database, and returns all errors at once.
    pub fn check(self, now: Time) -> Result<Edit, Vec<FieldError>> {
        let mut errors = Vec::new();
        let edit = Edit {
            description: self.description.and_then(|text| keep(&mut errors, check_description(&text))),
            scopes: self.scopes.and_then(|scopes| keep(&mut errors, check_scopes(&scopes))),
            expires_at: self.expires_at.and_then(|expiry| keep(&mut errors, expiry.check("expires_at", now))),
            owner: self.owner,
            backup: self.backup,
            disabled: self.disabled,
            settings: self.settings.check(&mut errors),
        };
        if errors.is_empty() { Ok(edit) } else { Err(errors) }
    }
}

/// Checks the reason for a revocation; an empty one is `None`.
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
    if text.chars().any(|letter| letter != '\n' && letter != '\t' && is_forbidden(letter)) {
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
