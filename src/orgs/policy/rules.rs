//! What keys may be: the rules of a policy, and what is wrong with them.

use serde::{Deserialize, Serialize};

use crate::error::FieldError;
use crate::role::Role;
use crate::scope::{Scope, Scopes};

/// The longest life of a key, in days, whatever the policy says: ten years with their leap days.
pub const MAX_DAYS: i64 = 3_653;
/// The most requests a minute that a key can have, whatever the policy says.
pub const MAX_RPM: u32 = 1_000_000;

/// Who may let a key live without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Never {
    /// Nobody.
    Nobody,
    /// Owners and admins.
    Admins,
    /// Whoever may make keys.
    Everyone,
}

impl Never {
    /// All of them, strictest first.
    pub const ALL: [Never; 3] = [Never::Nobody, Never::Admins, Never::Everyone];

    /// The name in forms and the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Never::Nobody => "nobody",
            Never::Admins => "admins",
            Never::Everyone => "everyone",
        }
    }

    /// The choice of that name.
    pub fn parse(name: &str) -> Option<Never> {
        Never::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// Whether someone in this role is among them.
    pub(super) fn allows(self, role: Role) -> bool {
        match self {
            Never::Nobody => false,
            Never::Admins => role.manages_all_keys(),
            Never::Everyone => true,
        }
    }
}

/// What keys may be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// For how many days a secret may live; `None` leaves [`MAX_DAYS`].
    pub longest_days: Option<i64>,
    /// Who may let a key live without an end.
    pub never: Never,
    /// After how many days a new key ends unless something else is chosen; `None` is never.
    pub default_days: Option<i64>,
    /// What members may put on keys. Never `admin`.
    pub member_scopes: Scopes,
    /// Requests a minute of new keys, and the most that a member may choose; `None` is what the
    /// server is configured for.
    pub default_rpm: Option<u32>,
    /// The most requests a minute that a key may have.
    pub largest_rpm: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            longest_days: None,
            never: Never::Everyone,
            default_days: Some(90),
            member_scopes: Role::Member.grantable(),
            default_rpm: None,
            largest_rpm: MAX_RPM,
        }
    }
}

impl Rules {
    /// The scopes that members may be allowed to grant.
    pub fn offered_to_members() -> Scopes {
        Scopes::all().without(Scopes::from_iter([Scope::Admin]))
    }

    /// What is wrong with the rules, each by the name of its field.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut complain = |field, message: String| errors.push(FieldError::new(field, message));
        if self.longest_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            complain("longest", format!("Choose 1 to {MAX_DAYS} days."));
        }
        match self.default_days {
            None if self.never == Never::Nobody => {
                complain("default_expiry", "Keys need an end here. Choose when new ones end.".to_owned());
            }
            Some(days) if !(1..=self.longest()).contains(&days) => {
                complain("default_expiry", format!("Choose at most {} days.", self.longest()));
            }
            _ => {}
        }
        if !self.member_scopes.without(Rules::offered_to_members()).is_empty() {
            complain("member_scopes", "Only owners and admins grant admin.".to_owned());
        }
        if !(1..=MAX_RPM).contains(&self.largest_rpm) {
            complain("largest_rpm", "Use a number from 1 to 1,000,000.".to_owned());
        } else if self.default_rpm.is_some_and(|rpm| !(1..=self.largest_rpm).contains(&rpm)) {
            complain("default_rpm", format!("Use a number from 1 to {}.", self.largest_rpm));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// For how many days a secret may live.
    pub fn longest(&self) -> i64 {
        self.longest_days.unwrap_or(MAX_DAYS)
    }

    /// What someone in this role may put on a key.
    pub(super) fn scopes(&self, role: Role) -> Scopes {
        if role == Role::Member { self.member_scopes } else { role.grantable() }
    }

    /// What a key that exists may under either.
    pub(super) fn or(&self, other: &Rules) -> Rules {
        let longest_days = self.longest_days.zip(other.longest_days).map(|(one, other)| one.max(other));
        Rules {
            longest_days,
            never: self.never.max(other.never),
            member_scopes: self.member_scopes.union(other.member_scopes),
            largest_rpm: self.largest_rpm.max(other.largest_rpm),
            ..self.clone()
        }
    }
}
