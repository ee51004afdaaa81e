//! The rules of a policy and their validation.

use serde::{Deserialize, Serialize};

use crate::catalogue::list::{self, ModelList};
use crate::error::FieldError;
use crate::role::Role;
use crate::scope::{Scope, Scopes};

/// The longest lifetime of a key under any policy, in days: ten years with leap days.
pub const MAX_DAYS: i64 = 3_653;
/// The most requests per minute that a key can have under any policy.
pub const MAX_RPM: u32 = 1_000_000;

/// Who may create keys that never expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeverExpire {
    Nobody,
    /// Owners and admins.
    Admins,
    /// Every member who may create keys.
    Everyone,
}

impl NeverExpire {
    /// All choices, strictest first.
    pub const ALL: [NeverExpire; 3] = [NeverExpire::Nobody, NeverExpire::Admins, NeverExpire::Everyone];

    /// The name in forms and the audit log.
    pub fn name(self) -> &'static str {
        match self {
            NeverExpire::Nobody => "nobody",
            NeverExpire::Admins => "admins",
            NeverExpire::Everyone => "everyone",
        }
    }

    /// The choice of that name, if there is one.
    pub fn parse(name: &str) -> Option<NeverExpire> {
        NeverExpire::ALL.into_iter().find(|choice| choice.name() == name)
    }

    /// Whether the choice includes this role.
    pub(super) fn allows(self, role: Role) -> bool {
        match self {
            NeverExpire::Nobody => false,
            NeverExpire::Admins => role.manages_all_keys(),
            NeverExpire::Everyone => true,
        }
    }
}

/// The rules of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The maximum lifetime of a secret, in days; `None` means [`MAX_DAYS`].
    pub longest_days: Option<i64>,
    /// Who may create keys that never expire.
    pub never: NeverExpire,
    /// The default lifetime of a new key, in days; `None` means that it never expires.
    pub default_days: Option<i64>,
    /// The scopes that members may grant. Never includes `admin`.
    pub member_scopes: Scopes,
    /// The default requests per minute of new keys, and the most that a member may choose; `None` means
    /// the server's default.
    pub default_rpm: Option<u32>,
    /// The most requests per minute that a key may have.
    pub largest_rpm: u32,
    /// The models that keys of members may call; `None` is all.
    #[serde(default)]
    pub member_models: Option<ModelList>,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            longest_days: None,
            never: NeverExpire::Everyone,
            default_days: Some(90),
            member_scopes: Role::Member.grantable(),
            default_rpm: None,
            largest_rpm: MAX_RPM,
            member_models: None,
        }
    }
}

impl Rules {
    /// The scopes that a policy may let members grant.
    pub fn offered_to_members() -> Scopes {
        Scopes::all().without(Scopes::from_iter([Scope::Admin]))
    }

    /// Validates the rules; errors name the fields.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut complain = |field, message: String| errors.push(FieldError::new(field, message));
        if self.longest_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            complain("longest", format!("Choose 1 to {MAX_DAYS} days."));
        }
        match self.default_days {
            None if self.never == NeverExpire::Nobody => {
                complain(
                    "default_expiry",
                    "Keys must expire under this policy. Choose a default.".to_owned(),
                );
            }
            Some(days) if !(1..=self.longest()).contains(&days) => {
                complain("default_expiry", format!("Choose at most {} days.", self.longest()));
            }
            _ => {}
        }
        if !self.member_scopes.without(Rules::offered_to_members()).is_empty() {
            complain("member_scopes", "Only owners and admins can grant admin.".to_owned());
        }
        if !(1..=MAX_RPM).contains(&self.largest_rpm) {
            complain("largest_rpm", "Use a number from 1 to 1,000,000.".to_owned());
        } else if self.default_rpm.is_some_and(|rpm| !(1..=self.largest_rpm).contains(&rpm)) {
            complain("default_rpm", format!("Use a number from 1 to {}.", self.largest_rpm));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// The maximum lifetime of a secret, in days.
    pub fn longest(&self) -> i64 {
        self.longest_days.unwrap_or(MAX_DAYS)
    }

    /// The scopes that a member with this role may put on a key.
    pub(super) fn scopes(&self, role: Role) -> Scopes {
        if role == Role::Member { self.member_scopes } else { role.grantable() }
    }

    /// The models that keys of an owner with this role may call; `None` is all.
    pub fn models(&self, role: Role) -> Option<&ModelList> {
        self.member_models.as_ref().filter(|_| role == Role::Member)
    }

    /// The rules that allow what either of two allows.
    pub(super) fn or(&self, other: &Rules) -> Rules {
        let longest_days = self.longest_days.zip(other.longest_days).map(|(one, other)| one.max(other));
        Rules {
            longest_days,
            never: self.never.max(other.never),
            member_scopes: self.member_scopes.union(other.member_scopes),
            largest_rpm: self.largest_rpm.max(other.largest_rpm),
            member_models: list::in_either(self.member_models.as_ref(), other.member_models.as_ref()),
            ..self.clone()
        }
    }
}
