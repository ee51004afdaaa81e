//! The key policy of an organisation: how long keys may live, what members may put on them,
//! how often they may call. Pure: rows and time come in as arguments; [`store`] has the rows.
//!
//! A change binds whoever makes, edits or rotates a key at once. Keys that exist follow from a
//! date: until then they may what the rules before or the new ones allow, whichever is more.
//! The preview of a change, the change itself and the check of each call ask the functions here,
//! so that what was shown is what happens. No job waits for the date.

mod rules;
pub mod store;

pub use rules::{MAX_DAYS, MAX_RPM, Never, Rules};

use crate::error::FieldError;
use crate::role::Role;
use crate::scope::Scopes;
use crate::time::{DAY, Time};

/// The longest time that keys can be given before they follow a change, in days.
const MAX_WAIT_DAYS: i64 = 366;

/// Checks the date from which keys that exist follow a change.
pub fn check_date(date: Time, now: Time) -> Result<(), FieldError> {
    if date <= now {
        return Err(FieldError::new("date", "Choose a day from tomorrow on: keys that exist need time."));
    }
    if date.since(now) > MAX_WAIT_DAYS * DAY {
        return Err(FieldError::new("date", "Choose a day within the next year."));
    }
    Ok(())
}

/// Rules that were replaced, and until when they count for the keys of their time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// What these keys may, beside what the rules of now allow.
    pub rules: Rules,
    /// From then on they follow the rules of now.
    pub until: Time,
}

/// The policy of an organisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// What new keys may be.
    pub rules: Rules,
    /// When the rules were written; `None` where nobody has ever changed them.
    pub saved_at: Option<Time>,
    /// What the keys of before may for some time. `None` where the rules take nothing away.
    pub earlier: Option<Earlier>,
}

/// A key as far as a policy looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// When its secret was made.
    pub made: Time,
    /// When it was asked to end.
    pub ends: Option<Time>,
    /// The scopes that were put on it.
    pub scopes: Scopes,
    /// The requests a minute that it was given.
    pub rpm: u32,
    /// Its owner's role; `None` when they are no member any more.
    pub role: Option<Role>,
}

/// What a policy makes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effective {
    /// When it ends.
    pub ends: Option<Time>,
    /// What it may do.
    pub scopes: Scopes,
    /// Requests a minute.
    pub rpm: u32,
}

/// What the keys of an owner may have: now, and what else until some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    bounds: Bounds,
    earlier: Option<(Bounds, Time)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bounds {
    scopes: Scopes,
    rpm: u32,
}

impl Rights {
    fn at(&self, now: Time) -> Bounds {
        self.earlier.filter(|(_, until)| now < *until).map_or(self.bounds, |(bounds, _)| bounds)
    }

    /// The most that the key can do at `now`.
    pub fn scopes(&self, now: Time) -> Scopes {
        self.at(now).scopes
    }

    /// The most requests a minute at `now`.
    pub fn largest_rpm(&self, now: Time) -> u32 {
        self.at(now).rpm
    }
}

impl Policy {
    /// What the keys of an owner in that role may have.
    pub fn rights(&self, role: Option<Role>) -> Rights {
        let bounds = |rules: &Rules| Bounds {
            scopes: role.map_or(Scopes::NONE, |role| rules.scopes(role)),
            rpm: rules.largest_rpm,
        };
        Rights {
            bounds: bounds(&self.rules),
            earlier: self
                .earlier
                .as_ref()
                .map(|earlier| (bounds(&earlier.rules), earlier.until))
                .filter(|(before, _)| *before != bounds(&self.rules)),
        }
    }

    /// The scopes that someone in this role may put on a key.
    pub fn grantable(&self, role: Role) -> Scopes {
        self.rules.scopes(role)
    }

    /// Whether someone in this role may let a key live without an end.
    pub fn allows_never(&self, role: Role) -> bool {
        self.rules.never.allows(role)
    }

    /// The latest end that can be chosen for a secret made at `made`.
    pub fn latest_end(&self, made: Time) -> Time {
        let latest = made.plus(self.rules.longest() * DAY);
        self.date_for(made).map_or(latest, |date| latest.max(date))
    }

    /// Whether someone in this role may choose that end for a secret made at `made`; the
    /// complaint says what can be chosen.
    pub fn check_end(&self, made: Time, end: Option<Time>, role: Role) -> Result<(), String> {
        let days = self.rules.longest();
        match end {
            None if self.allows_never(role) => Ok(()),
            None => Err(format!(
                "The organisation’s policy asks for an end. Choose one at most {days} days ahead."
            )),
            Some(end) if end <= self.latest_end(made) => Ok(()),
            Some(_) => Err(format!(
                "The organisation’s policy lets a secret live at most {days} days. Choose an end until {}.",
                self.latest_end(made).rfc3339()
            )),
        }
    }

    /// When a key ends that is asked to end at `ends`. Only what the rules took away is cut, and
    /// never before the date.
    pub fn bound_end(&self, made: Time, ends: Option<Time>) -> Option<Time> {
        match (self.date_for(made), ends) {
            (None, ends) => ends,
            (Some(_), None) if self.rules.never != Never::Nobody => None,
            (Some(_), None) => Some(self.latest_end(made)),
            (Some(_), Some(end)) => Some(end.min(self.latest_end(made))),
        }
    }

    /// From when a secret made at `made` follows the rules, where that is later than its making.
    fn date_for(&self, made: Time) -> Option<Time> {
        let existed = self.saved_at.is_some_and(|saved| made <= saved);
        self.earlier.as_ref().filter(|_| existed).map(|earlier| earlier.until)
    }

    /// Requests a minute of a new key for which nothing else is chosen; `configured` is what the
    /// server is configured for.
    pub fn default_rpm(&self, configured: u32) -> u32 {
        self.rules.default_rpm.unwrap_or(configured).min(self.rules.largest_rpm)
    }

    /// The most requests a minute that someone in this role may choose without asking.
    pub fn most_rpm(&self, role: Role, configured: u32) -> u32 {
        if role.manages_all_keys() { self.rules.largest_rpm } else { self.default_rpm(configured) }
    }

    /// What the policy makes of a key at `now`.
    pub fn effective(&self, key: &Held, now: Time) -> Effective {
        let rights = self.rights(key.role);
        Effective {
            ends: self.bound_end(key.made, key.ends),
            scopes: key.scopes.intersection(rights.scopes(now)),
            rpm: key.rpm.min(rights.largest_rpm(now)),
        }
    }

    /// The policy with other rules, which the keys of now follow from `date`.
    pub fn changed(&self, rules: Rules, date: Time, now: Time) -> Policy {
        let still = self.earlier.as_ref().filter(|earlier| now < earlier.until);
        let before = still.map_or_else(|| self.rules.clone(), |earlier| earlier.rules.or(&self.rules));
        let either = rules.or(&before);
        let earlier = (either != rules).then_some(Earlier { rules: either, until: date });
        Policy { rules, saved_at: Some(now), earlier }
    }
}

#[cfg(test)]
mod tests;
