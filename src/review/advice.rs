//! Removing unused scopes, and restoring them.

use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::input::Edit;
use crate::keys::lifecycle::{self, KeyDefaults};
use crate::keys::{Key, store as keys};
use crate::review::facts::{self, Which};
use crate::review::rules::{self, FindingKind};
use crate::review::{scan, store};
use crate::scope::{Scope, Scopes};
use crate::time::DAY;

/// Days for which a removal can be undone.
pub const UNDO_DAYS: i64 = 7;

/// Removes a scope that a key does not use.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`; `Conflict` if the scope is in use or the key no longer holds it.
pub fn remove(
    tx: &mut Tx<'_>,
    acting: &Acting,
    defaults: &KeyDefaults,
    id: KeyId,
    scope: Scope,
) -> Result<Key> {
    let now = acting.now;
    let key = keys::lock(tx, acting.org, id)?;
    let facts = facts::read(tx.conn, acting.org, Which::These(&[id]), now)?;
    let found = facts.iter().flat_map(|facts| rules::findings(facts, now));
    let is_unused =
        |finding: rules::Finding| finding.kind == FindingKind::ScopeUnused && finding.scope == Some(scope);
    if !found.into_iter().any(is_unused) {
        return Err(Error::Conflict(
            "The scope is in use, or the key no longer holds it. Nothing was changed.",
        ));
    }
    let scopes = key.scopes.without(Scopes::from_iter([scope]));
    let key = lifecycle::edit(tx, acting, defaults, id, &Edit { scopes: Some(scopes), ..Edit::default() })?;
    store::insert_removal(tx, acting.org, id, scope, acting.person()?, now)?;
    scan::scan_key(tx, acting.org, id, now)?;
    Ok(key)
}

/// Restores a scope that was removed on advice in the last 7 days.
///
/// Errors: as for [`remove`]; `ScopeNotGrantable`.
pub fn undo(
    tx: &mut Tx<'_>,
    acting: &Acting,
    defaults: &KeyDefaults,
    id: KeyId,
    scope: Scope,
) -> Result<Key> {
    let now = acting.now;
    let key = keys::lock(tx, acting.org, id)?;
    if !store::undo_removal(tx, acting.org, id, scope, (now.plus(-UNDO_DAYS * DAY), now))? {
        return Err(Error::Conflict("The scope was already restored, or was removed too long ago."));
    }
    let scopes = key.scopes.iter().chain([scope]).collect();
    let key = lifecycle::edit(tx, acting, defaults, id, &Edit { scopes: Some(scopes), ..Edit::default() })?;
    scan::scan_key(tx, acting.org, id, now)?;
    Ok(key)
}
