//! A signed-in person as a principal.

use crate::authority::{Actor, FRESH, Principal, VerifiedPrincipal};
use crate::db::{Requester, Tx};
use crate::error::{Error, Result};
use crate::id::{SessionId, UserId};
use crate::people::{sessions, store};
use crate::time::Time;

/// A person with a session.
#[derive(Clone, Debug)]
pub struct SignedInPerson {
    pub id: UserId,
    pub session: SessionId,
    /// When they last proved their identity in this session.
    pub proved: Option<Time>,
    /// Whether the requested change needs a fresh sign-in.
    pub must_be_fresh: bool,
}

impl SignedInPerson {
    /// Whether they proved their identity within the last [`FRESH`] seconds.
    pub fn is_fresh(&self, now: Time) -> bool {
        self.proved.is_some_and(|proved| now.since(proved) < FRESH)
    }
}

impl Principal for SignedInPerson {
    fn verify(&self, tx: &mut Tx<'_>, now: Time) -> Result<VerifiedPrincipal> {
        // The person before the session: securing an account locks them in the same order.
        if !store::lock_enabled(tx, self.id)? {
            return Err(Error::SignedOut);
        }
        let ends_at = sessions::lock(tx, self.id, self.session)?.ok_or(Error::SignedOut)?;
        let person = self.clone();
        let recheck = move |now: Time, needs_fresh: bool| {
            if ends_at <= now {
                return Err(Error::SignedOut);
            }
            if (person.must_be_fresh || needs_fresh) && !person.is_fresh(now) {
                return Err(Error::NotFresh);
            }
            Ok(())
        };
        recheck(now, false)?;
        let (actor, is_fresh) = (Actor::Person(self.id), self.is_fresh(now));
        Ok(VerifiedPrincipal {
            actor,
            person: self.id,
            role: None,
            is_fresh,
            key: None,
            recheck: Box::new(recheck),
        })
    }

    fn requester(&self) -> Requester {
        Requester::Person(self.id)
    }
}
