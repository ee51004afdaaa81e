//! Checks of what people choose for a key, against the organisation's policy and the catalogue.

use crate::catalogue::current::CurrentCatalogue;
use crate::error::{Error, FieldError, Result};
use crate::keys::settings::KeySettings;
use crate::orgs::policy::Policy;
use crate::role::Role;
use crate::scope::Scopes;
use crate::time::Time;

/// Checks that both the person who manages a key and its owner may grant these scopes.
pub(super) fn grantable(policy: &Policy, scopes: Scopes, manager: Role, owner: Role) -> Result<()> {
    let refused = scopes.without(policy.grantable(manager).intersection(policy.grantable(owner)));
    if refused.is_empty() { Ok(()) } else { Err(Error::ScopeNotGrantable(refused)) }
}

/// Checks the models that were added to a key of an owner with this role.
pub(super) fn check_models(
    catalogue: &CurrentCatalogue,
    policy: &Policy,
    settings: &KeySettings,
    before: Option<&KeySettings>,
    owner: Role,
) -> Option<FieldError> {
    let loaded = catalogue.get();
    let catalogue = loaded.as_ref().map(|loaded| &loaded.catalogue);
    settings.check_models(before, policy.rules.models(owner), catalogue)
}

/// Checks an expiry.
pub(super) fn check_end(
    policy: &Policy,
    field: &'static str,
    made: Time,
    end: Option<Time>,
    role: Role,
) -> Result<(), FieldError> {
    policy.check_end(made, end, role).map_err(|message| FieldError::new(field, message))
}
