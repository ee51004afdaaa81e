//! Snoozing findings: hiding one from the review for a while.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::Key;
use crate::keys::store as keys;
use crate::review::facts::{self, Which};
use crate::review::rules::{self, FindingKind, SNOOZE_DAYS};
use crate::review::{scan, store};
use crate::scope::Scope;
use crate::time::{DAY, Time};

/// A finding about a key, and about one of its scopes for [`FindingKind::ScopeUnused`].
#[derive(Clone, Copy, Debug)]
pub struct FindingRef {
    pub key: KeyId,
    pub kind: FindingKind,
    pub scope: Option<Scope>,
}

/// Snoozes a finding for 90 days. Returns the key, and when the snooze ends.
///
/// Errors: `NotFound`; `Conflict` if there is no such finding now, because a finding can't be hidden before
/// anyone has seen it.
pub fn snooze(tx: &mut Tx<'_>, acting: &Acting, about: FindingRef) -> Result<(Key, Time)> {
    let FindingRef { key, kind, scope } = about;
    let now = acting.now.whole_second();
    let until = now.plus(SNOOZE_DAYS * DAY);
    let found_key = keys::lock(tx, acting.org, key)?;
    let facts = facts::read(tx.conn, acting.org, Which::These(&[key]), now)?;
    let mut found = facts.iter().flat_map(|facts| rules::findings(facts, now));
    if !found.any(|finding| (finding.kind, finding.scope) == (kind, scope)) {
        return Err(Error::Conflict("There is no longer a finding of this kind. Nothing was changed."));
    }
    store::insert_snooze(tx, acting.org, (key, kind, scope), acting.person()?, (now, until))?;
    scan::scan_key(tx, acting.org, key, now)?;
    let event = Event::FindingSnoozed { finding: kind.name().to_owned(), scope: name(scope), until };
    log::append(tx, acting, &key.to_string(), &event)?;
    Ok((found_key, until))
}

/// Ends the snooze of a finding. Error: `NotFound` if it is not snoozed.
pub fn reopen(tx: &mut Tx<'_>, acting: &Acting, about: FindingRef) -> Result<()> {
    let FindingRef { key, kind, scope } = about;
    keys::lock(tx, acting.org, key)?;
    if !store::delete_snooze(tx, acting.org, key, kind, scope, acting.now)? {
        return Err(Error::NotFound);
    }
    scan::scan_key(tx, acting.org, key, acting.now)?;
    let event = Event::FindingReopened { finding: kind.name().to_owned(), scope: name(scope) };
    log::append(tx, acting, &key.to_string(), &event)
}

fn name(scope: Option<Scope>) -> Option<String> {
    scope.map(|scope| scope.name().to_owned())
}
