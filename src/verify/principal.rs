//! A program as the one who makes a change: its key, read again.

use std::net::IpAddr;

use crate::authority::{Actor, Principal, VerifiedKey, VerifiedPrincipal};
use crate::db::{Requester, Tx};
use crate::error::{Error, Result};
use crate::id::SecretId;
use crate::keys::lookup;
use crate::refusal::Refusal;
use crate::scope::Scopes;
use crate::time::Time;
use crate::verify::decision;

/// A program that presented the secret of a key.
#[derive(Clone, Debug)]
pub struct ActingKey {
    /// The secret that it presented.
    pub secret: SecretId,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The scopes that it needs; none where the request is about the key itself.
    pub needed: Option<Scopes>,
}

impl Principal for ActingKey {
    fn verify(&self, tx: &mut Tx<'_>, now: Time) -> Result<VerifiedPrincipal> {
        let found = lookup::lock(tx, self.secret)?;
        let key = found.ok_or(Error::KeyRefused(Refusal::Superseded))?;
        decision::is_usable(&key, self.address, now).map_err(Error::KeyRefused)?;
        if let Some(needed) = self.needed {
            decision::has_scopes(&key, needed, now).map_err(Error::KeyRefused)?;
        }
        let scopes = decision::effective_scopes(&key, now);
        Ok(VerifiedPrincipal {
            actor: Actor::Key(key.key),
            person: key.owner,
            role: key.owner_role,
            is_fresh: true,
            key: Some(VerifiedKey { scopes, is_superseded: key.superseded_until.is_some() }),
            recheck: Box::new(move |now, _| decision::is_alive(&key, now).map_err(Error::KeyRefused)),
        })
    }

    fn requester(&self) -> Requester {
        Requester::Program(self.secret)
    }
}
