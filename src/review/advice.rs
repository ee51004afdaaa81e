//! Removing scopes that nobody needs, and giving them back.

use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::draft::Edit;
use crate::keys::lifecycle::{self, Mint};
use crate::keys::{Key, store as keys};
use crate::review::facts::{self, Which};
use crate::review::rules::{self, Card};
use crate::review::{look, store};
use crate::scope::{Scope, Scopes};
use crate::time::DAY;

/// For how many days a removal can be undone.
pub const UNDO_DAYS: i64 = 7;

/// Removes a scope that a key does not use.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `Conflict` if it is used or given meanwhile.
pub fn remove(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, id: KeyId, scope: Scope) -> Result<Key> {
    let now = acting.now;
    let key = keys::lock(tx, acting.org, id)?;
    let facts = facts::read(tx.conn, acting.org, Which::These(&[id]), now)?;
    let found = facts.iter().flat_map(|facts| rules::findings(facts, now));
    let is_unused =
        |finding: rules::Finding| finding.card == Card::ScopeUnused && finding.scope == Some(scope);
    if !found.into_iter().any(is_unused) {
        return Err(Error::Conflict(
            "The scope is in use, or is not the key's any more. Nothing was changed.",
        ));
    }
    let scopes = key.scopes.without(Scopes::from_iter([scope]));
    let key = lifecycle::edit(tx, acting, mint, id, &Edit { scopes: Some(scopes), ..Edit::default() })?;
    store::insert_removal(tx, acting.org, id, scope, acting.person()?, now)?;
    look::look_at(tx, acting.org, id, now)?;
    Ok(key)
}

/// Gives back a scope that was removed on advice in the last days.
///
/// Errors: as for [`remove`]; `ScopeNotGrantable`.
pub fn undo(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, id: KeyId, scope: Scope) -> Result<Key> {
    let now = acting.now;
    let key = keys::lock(tx, acting.org, id)?;
    if !store::undo_removal(tx, acting.org, id, scope, (now.plus(-UNDO_DAYS * DAY), now))? {
        return Err(Error::Conflict("The scope was given back already, or was removed too long ago."));
    }
    let scopes = key.scopes.iter().chain([scope]).collect();
    let key = lifecycle::edit(tx, acting, mint, id, &Edit { scopes: Some(scopes), ..Edit::default() })?;
    look::look_at(tx, acting.org, id, now)?;
    Ok(key)
}
