//! What a change lets a key do that it could not do before. Its owner and backup are notified of it.

use crate::keys::Key;
use crate::mail::Widening;

/// What the key can do after a change that it could not do before.
pub(super) fn between(before: &Key, after: &Key) -> Vec<Widening> {
    let mut found = Vec::new();
    let added = after.scopes.without(before.scopes);
    if !added.is_empty() {
        found.push(Widening::Scopes(added.names().into_iter().map(str::to_owned).collect()));
    }
    let is_later = match (before.expires_at, after.expires_at) {
        (Some(before), Some(after)) => after > before,
        (before, after) => before.is_some() && after.is_none(),
    };
    if is_later {
        found.push(Widening::Expiry(after.expires_at));
    }
    found.extend(after.settings.gains(&before.settings));
    if before.disabled.is_some() && after.disabled.is_none() {
        found.push(Widening::Enabled);
    }
    if after.owner.id != before.owner.id {
        found.push(Widening::Owner(after.owner.name.clone()));
    }
    let backup = after.backup.as_ref();
    if let Some(backup) = backup.filter(|backup| before.backup.as_ref().is_none_or(|old| old.id != backup.id))
    {
        found.push(Widening::Backup(backup.name.clone()));
    }
    found
}
