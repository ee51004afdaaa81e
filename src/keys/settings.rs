//! The settings of a key: how much it may use, from where, and whether it may rotate itself.
//!
//! `for_each_key_setting!` is the one list of settings. Everything that treats all settings alike
//! is generated from it: the columns that are read and written, the bodies and the key object of the
//! API, the options of the command line, what a form submits, the checks, and the changes in the
//! audit log. What differs from setting to setting stands below the list: the value of a new key,
//! what the organisation's policy allows, and which changes let a key do more.

mod models;
mod values;

pub use models::ModelNames;
pub use values::{Networks, PerMinute};

use diesel::prelude::*;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::audit::event::Change;
use crate::catalogue::Catalogue;
use crate::catalogue::list::{self, ModelList};
use crate::error::FieldError;
use crate::keys::settings::values::FormInput;
use crate::mail::Widening;
use crate::orgs::policy::Policy;
use crate::role::Role;
use crate::schema::api_keys;

/// Calls a macro with all settings, each as
/// `name: [type of its value] from [type of its input], check, schema(limits of the input)`.
///
/// The value is stored in the column of the same name. The input is what JSON, a form or the command
/// line holds; the check turns it into the value, or returns a message that says what to do.
macro_rules! for_each_key_setting {
    ($callback:ident) => {
        $callback! {
            /// Requests per minute, 1 to 1,000,000 and at most what the organisation's policy allows.
            requests_per_minute: [PerMinute] from [i64], PerMinute::check, schema(minimum = 1, maximum = 1_000_000);

            /// The models that the key may call: 1 to 100 names, or prefixes that end in `*`; null is every model that
            /// the organisation's policy allows.
            models: [Option<ModelList>] from [crate::keys::settings::ModelNames], ModelNames::check, schema();

            /// Addresses and networks that the key may be used from, at most 50; none means any.
            allowed_ips: [Networks] from [Vec<String>], Networks::check, schema(max_items = 50);

            /// Whether the key may replace its own secret.
            self_rotate: [bool] from [bool], Ok::<bool, String>, schema();
        }
    };
}
pub(crate) use for_each_key_setting;

impl KeySettings {
    /// The settings of a new key where nothing else is chosen; `configured_limit` is the server's
    /// default.
    pub fn new(policy: &Policy, configured_limit: u32) -> KeySettings {
        KeySettings {
            requests_per_minute: PerMinute::new(policy.default_rpm(configured_limit)),
            models: None,
            allowed_ips: Networks::default(),
            self_rotate: false,
        }
    }

    /// Checks settings that someone in this role has chosen against the organisation's policy. A key
    /// may keep what it had before.
    pub fn check_policy(
        &self,
        before: Option<&KeySettings>,
        policy: &Policy,
        role: Role,
        configured_limit: u32,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (limit, most) = (self.requests_per_minute.get(), policy.most_rpm(role, configured_limit));
        if limit > most && before.is_none_or(|before| self.requests_per_minute > before.requests_per_minute) {
            let ask = if most < policy.rules.largest_rpm { " More needs an admin’s approval." } else { "" };
            let message = format!("Use at most {most} requests a minute.{ask}");
            errors.push(FieldError::new("requests_per_minute", message));
        }
        errors
    }

    /// Checks that each model that is new in the list is allowed by `policy`, where `None` allows all, and that the
    /// catalogue has it.
    pub fn check_models(
        &self,
        before: Option<&KeySettings>,
        policy: Option<&ModelList>,
        catalogue: Option<&Catalogue>,
    ) -> Option<FieldError> {
        let models = self.models.as_ref()?;
        let is_new = |name: &&str| {
            let known = before.and_then(|before| before.models.as_ref());
            known.is_none_or(|known| !known.names().any(|other| other == *name))
        };
        let refused: Vec<&str> = match policy {
            Some(policy) => models.names().filter(is_new).filter(|name| !policy.covers(name)).collect(),
            None => Vec::new(),
        };
        if !refused.is_empty() {
            let message =
                format!("The organisation’s policy does not let members call {}.", list::brief(&refused));
            return Some(FieldError::new("models", message));
        }
        let unknown: Vec<&str> = models.unknown_in(catalogue?).into_iter().filter(is_new).collect();
        if unknown.is_empty() {
            return None;
        }
        let message =
            format!("The catalogue has no model named {}. Correct the name.", list::brief(&unknown));
        Some(FieldError::new("models", message))
    }

    /// What these settings let a key do that it could not do before.
    pub fn gains(&self, before: &KeySettings) -> Vec<Widening> {
        let mut gains = Vec::new();
        if self.allowed_ips.reach_further(&before.allowed_ips) {
            gains.push(Widening::Addresses(self.allowed_ips.texts()));
        }
        if self.requests_per_minute > before.requests_per_minute {
            gains.push(Widening::Limit(self.requests_per_minute.get()));
        }
        if list::reaches_further(self.models.as_ref(), before.models.as_ref()) {
            gains.push(Widening::Models(self.models.as_ref().map(ModelList::texts)));
        }
        if self.self_rotate && !before.self_rotate {
            gains.push(Widening::SelfRotation);
        }
        gains
    }
}

macro_rules! define_settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: [$($value:tt)+] from [$($input:tt)+], $check:expr, schema($($limits:tt)*);
    )+) => {
        /// The settings of a key, as they are stored and as the API shows them.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema, Queryable, Selectable, Insertable, AsChangeset)]
        #[diesel(table_name = api_keys, treat_none_as_null = true, treat_none_as_default_value = false)]
        pub struct KeySettings {
            $( $(#[doc = $doc])+ #[schema(value_type = $($input)+)] pub $name: $($value)+, )+
        }

        /// Settings as a person or a program sent them, not checked yet. `None` was left out.
        #[derive(Clone, Debug, Default)]
        pub struct SettingsInput {
            $( $(#[doc = $doc])+ pub $name: Option<$($input)+>, )+
        }

        /// Checked values of some settings; those that are `None` stay as they are.
        #[derive(Clone, Debug, Default)]
        pub struct SettingsPatch {
            $( $(#[doc = $doc])+ pub $name: Option<$($value)+>, )+
        }

        impl SettingsInput {
            /// Reads the settings of a submitted form. `texts` returns all values of a field, or
            /// `None` if it was not submitted.
            pub fn from_form(texts: impl Fn(&str) -> Option<Vec<String>>) -> SettingsInput {
                SettingsInput { $( $name: texts(stringify!($name)).map(FormInput::read), )+ }
            }

            /// Checks each setting, and adds what is wrong to `errors`.
            pub fn check(self, errors: &mut Vec<FieldError>) -> SettingsPatch {
                SettingsPatch {
                    $( $name: self.$name.and_then(|input| {
                        $check(input)
                            .map_err(|message| errors.push(FieldError::new(stringify!($name), message)))
                            .ok()
                    }), )+
                }
            }
        }

        impl SettingsPatch {
            /// Sets the values in `settings`.
            pub fn apply(&self, settings: &mut KeySettings) {
                $( if let Some(value) = &self.$name {
                    settings.$name.clone_from(value);
                } )+
            }
        }

        impl KeySettings {
            /// The values as the fields of a form hold them, each with the field's name.
            pub fn form_fields(&self) -> Vec<(&'static str, String)> {
                vec![$( (stringify!($name), values::form_text(&json!(self.$name))), )+]
            }

            /// Each setting that differs from `before`.
            pub fn changes(&self, before: &KeySettings) -> Vec<Change> {
                let all = [$( (stringify!($name), json!(before.$name), json!(self.$name)), )+];
                all.into_iter().filter_map(|(field, before, after)| Change::between(field, before, after)).collect()
            }
        }
    };
}
for_each_key_setting!(define_settings);
