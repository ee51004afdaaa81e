//! The key policy of an organisation: the lifetime, scopes and limits that keys may have. Pure: rows and
//! time are arguments; [`store`] reads and writes the rows.
//!
//! A change applies at once to new, edited and rotated keys. Existing keys follow it from a date: until
//! then, the previous rules also apply to them, whichever allow more. The preview of a change, the change
//! itself and the check of each request use the same functions, so the preview is exact. No job waits for
//! the date.

mod rules;
pub mod store;

pub use rules::{MAX_DAYS, MAX_RPM, NeverExpire, Rules};

use crate::catalogue::list::{self, ModelList};
use crate::error::FieldError;
use crate::role::Role;
use crate::scope::Scopes;
use crate::time::{DAY, Time};

/// The latest date on which a change can start to apply to existing keys, in days ahead.
const MAX_WAIT_DAYS: i64 = 366;

/// Checks the date from which a change applies to existing keys.
pub fn check_date(date: Time, now: Time) -> Result<(), FieldError> {
    if date <= now {
        return Err(FieldError::new("date", "Choose a date in the future: existing keys need time."));
    }
    if date.since(now) > MAX_WAIT_DAYS * DAY {
        return Err(FieldError::new("date", "Choose a date within the next year."));
    }
    Ok(())
}

/// Previous rules that still apply to existing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlierRules {
    /// The rules that also apply.
    pub rules: Rules,
    /// When they stop applying.
    pub until: Time,
}

/// An organisation's key policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub rules: Rules,
    /// When the rules were last changed; `None` if they never were.
    pub saved_at: Option<Time>,
    /// Previous rules for existing keys; `None` if the current rules take nothing away from them.
    pub earlier: Option<EarlierRules>,
}

/// The properties of a key that a policy restricts.
#[derive(Clone, Debug)]
pub struct KeyTerms {
    /// When its secret was created.
    pub made: Time,
    /// The requested expiry.
    pub ends: Option<Time>,
    /// The scopes that it was given.
    pub scopes: Scopes,
    /// The requests per minute that it was given.
    pub rpm: u32,
    /// The models that it was given; `None` is all.
    pub models: Option<ModelList>,
    /// Its owner's role; `None` for a former member.
    pub role: Option<Role>,
}

/// The properties that a key effectively has under a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub ends: Option<Time>,
    pub scopes: Scopes,
    /// Requests per minute.
    pub rpm: u32,
    /// The models that it may call; `None` is all.
    pub models: Option<ModelList>,
}

/// The most that an owner's keys may have: now, and until an earlier policy stops applying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    bounds: Bounds,
    /// Boxed, because it is rare and many keys are held in memory.
    earlier: Option<Box<(Bounds, Time)>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Bounds {
    scopes: Scopes,
    rpm: u32,
    /// `None` is all.
    models: Option<ModelList>,
}

impl Rights {
    fn at(&self, now: Time) -> &Bounds {
        match self.earlier.as_deref() {
            Some((bounds, until)) if now < *until => bounds,
            _ => &self.bounds,
        }
    }

    /// The most scopes that a key can have at `now`.
    pub fn scopes(&self, now: Time) -> Scopes {
        self.at(now).scopes
    }

    /// The most requests per minute that a key can have at `now`.
    pub fn largest_rpm(&self, now: Time) -> u32 {
        self.at(now).rpm
    }

    /// The models that a key may call at `now`; `None` is all.
    pub fn models(&self, now: Time) -> Option<&ModelList> {
        self.at(now).models.as_ref()
    }
}

impl Policy {
    /// The most that the keys of an owner with that role may have.
    pub fn rights(&self, role: Option<Role>) -> Rights {
        let bounds = |rules: &Rules| Bounds {
            scopes: role.map_or(Scopes::NONE, |role| rules.scopes(role)),
            rpm: rules.largest_rpm,
            models: role.and_then(|role| rules.models(role)).cloned(),
        };
        Rights {
            bounds: bounds(&self.rules),
            earlier: self
                .earlier
                .as_ref()
                .map(|earlier| (bounds(&earlier.rules), earlier.until))
                .filter(|(before, _)| *before != bounds(&self.rules))
                .map(Box::new),
        }
    }

    /// The scopes that a member with this role may put on a key.
    pub fn grantable(&self, role: Role) -> Scopes {
        self.rules.scopes(role)
    }

    /// Whether a member with this role may create keys that never expire.
    pub fn allows_never(&self, role: Role) -> bool {
        self.rules.never.allows(role)
    }

    /// The latest expiry that can be chosen for a secret created at `made`.
    pub fn latest_end(&self, made: Time) -> Time {
        let latest = made.plus(self.rules.longest() * DAY);
        self.date_for(made).map_or(latest, |date| latest.max(date))
    }

    /// Checks the expiry that a member with this role chooses for a secret created at `made`. Errors: what
    /// can be chosen instead.
    pub fn check_end(&self, made: Time, end: Option<Time>, role: Role) -> Result<(), String> {
        let days = self.rules.longest();
        match end {
            None if self.allows_never(role) => Ok(()),
            None => Err(format!(
                "The organisation’s policy requires an expiry. Choose one at most {days} days ahead."
            )),
            Some(end) if end <= self.latest_end(made) => Ok(()),
            Some(_) => Err(format!(
                "The organisation’s policy lets a secret live at most {days} days. Choose an expiry no later than {}.",
                self.latest_end(made).rfc3339()
            )),
        }
    }

    /// The effective expiry of a key with the requested expiry `ends`. Only what the rules took away is cut,
    /// and not before the date.
    pub fn bound_end(&self, made: Time, ends: Option<Time>) -> Option<Time> {
        match (self.date_for(made), ends) {
            (None, ends) => ends,
            (Some(_), None) if self.rules.never != NeverExpire::Nobody => None,
            (Some(_), None) => Some(self.latest_end(made)),
            (Some(_), Some(end)) => Some(end.min(self.latest_end(made))),
        }
    }

    /// When the rules start to apply to a secret created at `made`, if that is later than its creation.
    fn date_for(&self, made: Time) -> Option<Time> {
        let existed = self.saved_at.is_some_and(|saved| made <= saved);
        self.earlier.as_ref().filter(|_| existed).map(|earlier| earlier.until)
    }

    /// The default requests per minute of a new key; `configured` is the server's default.
    pub fn default_rpm(&self, configured: u32) -> u32 {
        self.rules.default_rpm.unwrap_or(configured).min(self.rules.largest_rpm)
    }

    /// The most requests per minute that a member with this role may choose without a request.
    pub fn most_rpm(&self, role: Role, configured: u32) -> u32 {
        if role.manages_all_keys() { self.rules.largest_rpm } else { self.default_rpm(configured) }
    }

    /// The effective properties of a key at `now`.
    pub fn effective(&self, key: &KeyTerms, now: Time) -> Effective {
        let rights = self.rights(key.role);
        Effective {
            ends: self.bound_end(key.made, key.ends),
            scopes: key.scopes.intersection(rights.scopes(now)),
            rpm: key.rpm.min(rights.largest_rpm(now)),
            models: list::in_both(key.models.as_ref(), rights.models(now)),
        }
    }

    /// The policy after a change of the rules, which applies to existing keys from `date`.
    pub fn changed(&self, rules: Rules, date: Time, now: Time) -> Policy {
        let still = self.earlier.as_ref().filter(|earlier| now < earlier.until);
        let before = still.map_or_else(|| self.rules.clone(), |earlier| earlier.rules.or(&self.rules));
        let either = rules.or(&before);
        let earlier = (either != rules).then_some(EarlierRules { rules: either, until: date });
        Policy { rules, saved_at: Some(now), earlier }
    }
}

#[cfg(test)]
mod tests;
