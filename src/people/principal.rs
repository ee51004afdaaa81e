//! A signed-in person as the one who makes a change.

use crate::authority::{Actor, FRESH, Held, Principal};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::people::{sessions, store};
use crate::time::Time;

/// A person, signed in by a session.
#[derive(Clone, Debug)]
pub struct SignedInPerson {
    /// The person.
    pub id: UserId,
    /// The session.
    pub session: SessionId,
    /// When they last proved their identity in this session.
    pub proved: Option<Time>,
    /// Whether what they ask for needs a fresh sign-in.
    pub must_be_fresh: bool,
}

impl SignedInPerson {
    /// Whether they proved their identity lately enough for what needs a fresh sign-in.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.proved.is_some_and(|proved| now.since(proved) < FRESH)
    }
}

impl Principal for SignedInPerson {
    fn hold(&self, tx: &mut Tx<'_>, now: Time) -> Result<Held> {
        if !sessions::hold(tx, self.id, self.session, now)? || !store::hold_enabled(tx, self.id)? {
            return Err(Error::SignedOut);
        }
        let is_fresh = self.is_fresh(now);
        if self.must_be_fresh && !is_fresh {
            return Err(Error::NotFresh);
        }
        Ok(Held { actor: Actor::Person(self.id), person: self.id, role: None, is_fresh, key: None })
    }
}
