//! Deciding that a finding may stay for a while.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::KeyId;
use crate::keys::store as keys;
use crate::review::facts::{self, Which};
use crate::review::rules::{self, Card};
use crate::review::{look, store};
use crate::scope::Scope;
use crate::time::DAY;

/// For how many days a finding that someone has looked at is not shown.
pub const KEEP_DAYS: i64 = 90;

/// What was looked at.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Which key.
    pub key: KeyId,
    /// Which finding of it.
    pub card: Card,
    /// Which scope, where it is about one.
    pub scope: Option<Scope>,
}

/// Keeps a finding for 90 days. Errors: `NotFound`; `Conflict` if there is no such finding now: what
/// is yet to be found is not to be hidden beforehand.
pub fn keep(tx: &mut Tx<'_>, acting: &Acting, about: About) -> Result<()> {
    let About { key, card, scope } = about;
    let now = acting.now.whole_second();
    let until = now.plus(KEEP_DAYS * DAY);
    keys::lock(tx, acting.org, key)?;
    let facts = facts::read(tx.conn, acting.org, Which::These(&[key]), now)?;
    let mut found = facts.iter().flat_map(|facts| rules::findings(facts, now));
    if !found.any(|finding| (finding.card, finding.scope) == (card, scope)) {
        return Err(Error::Conflict("There is nothing of this kind to keep any more. Nothing was changed."));
    }
    store::insert_keep(tx, acting.org, (key, card, scope), acting.person()?, (now, until))?;
    look::look_at(tx, acting.org, key, now)?;
    let event = Event::FindingKept { finding: card.name().to_owned(), scope: named(scope), until };
    log::append(tx, acting, &key.to_string(), &event)
}

/// Shows a kept finding again. Errors: `NotFound` if it is not kept.
pub fn reopen(tx: &mut Tx<'_>, acting: &Acting, about: About) -> Result<()> {
    let About { key, card, scope } = about;
    keys::lock(tx, acting.org, key)?;
    if !store::delete_keep(tx, acting.org, key, card, scope, acting.now)? {
        return Err(Error::NotFound);
    }
    look::look_at(tx, acting.org, key, acting.now)?;
    let event = Event::FindingReopened { finding: card.name().to_owned(), scope: named(scope) };
    log::append(tx, acting, &key.to_string(), &event)
}

fn named(scope: Option<Scope>) -> Option<String> {
    scope.map(|scope| scope.name().to_owned())
}
