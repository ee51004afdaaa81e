//! A signed-in person as the one who makes a change.

use crate::authority::{Actor, FRESH, Held, Principal};
use crate::db::{Asker, Tx};
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
        // The person before the session: securing an account locks them in this order.
        if !store::hold_enabled(tx, self.id)? {
            return Err(Error::SignedOut);
        }
        let ends_at = sessions::hold(tx, self.id, self.session)?.ok_or(Error::SignedOut)?;
        let person = self.clone();
        let lasts = move |now: Time, needs_fresh: bool| {
            if ends_at <= now {
                return Err(Error::SignedOut);
            }
            if (person.must_be_fresh || needs_fresh) && !person.is_fresh(now) {
                return Err(Error::NotFresh);
            }
            Ok(())
        };
        lasts(now, false)?;
        let (actor, is_fresh) = (Actor::Person(self.id), self.is_fresh(now));
        Ok(Held { actor, person: self.id, role: None, is_fresh, key: None, lasts: Box::new(lasts) })
    }

    fn asker(&self) -> Asker {
        Asker::Person(self.id)
    }
}
