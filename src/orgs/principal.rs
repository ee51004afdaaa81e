//! The principals that make changes in an organisation: members, and the command line.

use crate::authority::{Actor, Principal, VerifiedPrincipal};
use crate::db::{Requester, Tx};
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::store::{self, Membership};
use crate::people::principal::SignedInPerson;
use crate::role::{Act, Role};
use crate::time::Time;

/// A signed-in member of an organisation.
#[derive(Clone, Debug)]
pub struct SignedInMember {
    pub person: SignedInPerson,
    pub org: OrgId,
    /// The act that their role must allow.
    pub act: Act,
}

impl Principal for SignedInMember {
    fn verify(&self, tx: &mut Tx<'_>, now: Time) -> Result<VerifiedPrincipal> {
        if matches!(self.act, Act::WriteMembers | Act::Leave) {
            // Changes of memberships queue here. If each locked its own membership first, two people
            // who demote each other would deadlock.
            store::lock(tx, self.org)?;
        }
        let verified = self.person.verify(tx, now)?;
        store::lock_member_shared(tx, self.org, self.person.id)?;
        let member = store::find_member(tx.conn, self.org, &self.person.id.to_string())?;
        let member = member.filter(Membership::is_active).ok_or(Error::NotFound)?;
        if !member.role.may(self.act) {
            return Err(Error::Forbidden);
        }
        Ok(VerifiedPrincipal { role: Some(member.role), ..verified })
    }

    fn requester(&self) -> Requester {
        self.person.requester()
    }
}

/// An operator with the command line on the server, who has the rights of an owner.
#[derive(Clone, Debug)]
pub struct CommandLine {
    pub org: OrgId,
}

impl Principal for CommandLine {
    fn verify(&self, tx: &mut Tx<'_>, _: Time) -> Result<VerifiedPrincipal> {
        let owner = store::first_owner(tx.conn, self.org)?;
        let owner = owner.ok_or(Error::Conflict("The organisation has no owner."))?;
        let (actor, role) = (Actor::CommandLine, Some(Role::Owner));
        let recheck = Box::new(|_, _| Ok(()));
        Ok(VerifiedPrincipal { actor, person: owner, role, is_fresh: true, key: None, recheck })
    }

    fn requester(&self) -> Requester {
        // It is the only principal in its process.
        Requester::Person(UserId::from_bytes([0; 16]))
    }
}
