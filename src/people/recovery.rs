//! Securing an account. Every act of recovery (a reset, a changed password, ended sessions, a person
//! disabled) goes through [`secure`], the only place that knows what can be pending for an account.
//!
//! It also raises the person's access generation. Work that was begun before, such as a sign-in whose
//! password is already compared, checks in its own transaction that the generation is still the one
//! that it read ([`hold`]), so it comes to nothing.

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

/// What is said when an account was secured while a request about it was under way.
const SECURED: Error = Error::Conflict("Your account was secured in the meantime. Sign in and try again.");

/// Which sessions an act ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// All of them.
    All,
    /// All but the one in which the person acts.
    AllBut(SessionId),
    /// This one. Calendar addresses, which programs read for months, stay.
    One(SessionId),
}

/// Ends sessions and revokes all that is pending for the account: links in e-mails, whatever they are
/// for, changes of the e-mail address, sign-ins begun at a provider, calendar addresses. Returns how
/// many sessions ended. A single session that is not there is no act, so nothing else ends either.
///
/// Errors: `Conflict` when the account was secured since `person` was read.
pub fn secure(tx: &mut Tx<'_>, person: &Person, ends: Ends, now: Time) -> Result<usize> {
    if let Ends::One(session) = ends
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
    let ended = match ends {
        Ends::All => sessions::end_all(tx, person.id)?,
        Ends::AllBut(kept) => sessions::end_others(tx, person.id, kept)?,
        Ends::One(session) => sessions::end(tx, person.id, session)?,
    };
    let revoked = links::withdraw_all(tx, person.id, now)?;
    forget_questions(tx, &revoked)?;
    flow::forget_of(tx, person.id)?;
    if !matches!(ends, Ends::One(_)) {
        diesel::delete(calendar_feeds::table.filter(calendar_feeds::person_id.eq(person.id)))
            .execute(tx.conn)?;
    }
    Ok(ended)
}

/// Checks that the account was not secured, nor the person disabled, since `person` was read, and keeps
/// it so until the transaction ends. All that makes something pending for an account calls this.
///
/// Errors: `Conflict`.
pub fn hold(tx: &mut Tx<'_>, person: &Person) -> Result<()> {
    if is_current(tx, person)? { Ok(()) } else { Err(SECURED) }
}

/// [`hold`] as an answer.
pub fn is_current(tx: &mut Tx<'_>, person: &Person) -> Result<bool> {
    let found = store::lock(tx, person.id)?;
    Ok(found.is_some_and(|found| {
        found.access_generation == person.access_generation && found.disabled_at.is_none()
    }))
}

/// Organisations no longer wait for the answer to a link that is revoked.
fn forget_questions(tx: &mut Tx<'_>, revoked: &[LinkId]) -> Result<()> {
    diesel::update(checkpoint_mail::table.filter(checkpoint_mail::asked_link.eq_any(revoked)))
        .set((
            checkpoint_mail::asked_address.eq(None::<String>),
            checkpoint_mail::asked_link.eq(None::<LinkId>),
            checkpoint_mail::asked_until.eq(None::<Time>),
        ))
        .execute(tx.conn)?;
    Ok(())
}
