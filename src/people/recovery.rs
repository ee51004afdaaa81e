//! Securing an account. Every act of recovery (a reset, a changed password, ended sessions, a disabled
//! person) goes through [`secure`], the only place that knows everything that can be pending for an account.
//!
//! It also increments the person's access generation. Work that began earlier, such as a sign-in whose
//! password was already compared, checks in its own transaction that the generation hasn't changed
//! ([`require_current`]), and fails otherwise.

use diesel::prelude::*;

use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{LinkId, SessionId};
use crate::people::links;
use crate::people::oauth::flow;
use crate::people::sessions;
use crate::people::store::{self, Person};
use crate::schema::{calendar_feeds, checkpoint_mail, people};
use crate::time::Time;

/// The error if an account was secured while a request about it was under way.
const SECURED: Error = Error::Conflict("Your account was secured in the meantime. Sign in and try again.");

/// The sessions to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionsToEnd {
    All,
    /// All but the one in which the person acts.
    AllBut(SessionId),
    /// Only this one. Calendar addresses, which programs read for months, stay.
    One(SessionId),
}

/// Ends sessions and revokes everything that is pending for the account: e-mailed links, changes of the
/// e-mail address, sign-in flows, calendar addresses. Returns how many sessions ended. If a single session
/// to end doesn't exist, nothing happens.
///
/// Errors: `Conflict` if the account was secured since `person` was read.
pub fn secure(tx: &mut Tx<'_>, person: &Person, which: SessionsToEnd, now: Time) -> Result<usize> {
    if let SessionsToEnd::One(session) = which
        && !sessions::exists(tx.conn, person.id, session)?
    {
        return Ok(0);
    }
    store::lock(tx, person.id)?;
    let raised = diesel::update(people::table.find(person.id))
        .filter(people::access_generation.eq(person.access_generation))
        .set(people::access_generation.eq(people::access_generation + 1))
        .execute(tx.conn)?;
    if raised != 1 {
        return Err(SECURED);
    }
    let ended = match which {
        SessionsToEnd::All => sessions::end_all(tx, person.id)?,
        SessionsToEnd::AllBut(kept) => sessions::end_others(tx, person.id, kept)?,
        SessionsToEnd::One(session) => sessions::end(tx, person.id, session)?,
    };
    let revoked = links::withdraw_all(tx, person.id, now)?;
    cancel_confirmations(tx, &revoked)?;
    flow::forget_of(tx, person.id)?;
    if !matches!(which, SessionsToEnd::One(_)) {
        diesel::delete(calendar_feeds::table.filter(calendar_feeds::person_id.eq(person.id)))
            .execute(tx.conn)?;
    }
    Ok(ended)
}

/// Checks that the account was not secured, nor the person disabled, since `person` was read, and keeps
/// it so until the transaction ends. Everything that creates something pending for an account calls this.
///
/// Errors: `Conflict`.
pub fn require_current(tx: &mut Tx<'_>, person: &Person) -> Result<()> {
    if is_current(tx, person)? { Ok(()) } else { Err(SECURED) }
}

/// [`require_current`], returning a bool.
pub fn is_current(tx: &mut Tx<'_>, person: &Person) -> Result<bool> {
    let found = store::lock(tx, person.id)?;
    Ok(found.is_some_and(|found| {
        found.access_generation == person.access_generation && found.disabled_at.is_none()
    }))
}

/// Organisations no longer wait for the confirmation of a revoked link.
fn cancel_confirmations(tx: &mut Tx<'_>, revoked: &[LinkId]) -> Result<()> {
    diesel::update(checkpoint_mail::table.filter(checkpoint_mail::asked_link.eq_any(revoked)))
        .set((
            checkpoint_mail::asked_address.eq(None::<String>),
            checkpoint_mail::asked_link.eq(None::<LinkId>),
            checkpoint_mail::asked_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}
