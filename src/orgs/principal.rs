//! Who makes changes in an organisation: a member, or an operator at the command line.

use crate::authority::{Actor, Held, Principal};
use crate::db::{Asker, Tx};
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::store::{self, Membership};
use crate::people::principal::SignedInPerson;
use crate::role::{Act, Role};
use crate::time::Time;

/// A signed-in person as a member of an organisation.
#[derive(Clone, Debug)]
pub struct SignedInMember {
    /// The person.
    pub person: SignedInPerson,
    /// The organisation.
    pub org: OrgId,
    /// What their role must allow.
    pub act: Act,
}

impl Principal for SignedInMember {
    fn hold(&self, tx: &mut Tx<'_>, now: Time) -> Result<Held> {
        if matches!(self.act, Act::WriteMembers | Act::Leave) {
            // Changes of memberships queue here. If each held its own membership first, two people
            // who demote each other would deadlock.
            store::lock(tx, self.org)?;
        }
        let held = self.person.hold(tx, now)?;
        store::hold_member(tx, self.org, self.person.id)?;
        let member = store::find_member(tx.conn, self.org, &self.person.id.to_string())?;
        let member = member.filter(Membership::is_active).ok_or(Error::NotFound)?;
        if !member.role.may(self.act) {
            return Err(Error::Forbidden);
        }
        Ok(Held { role: Some(member.role), ..held })
    }

    fn asker(&self) -> Asker {
        self.person.asker()
    }
}

/// An operator with the command line on the server, who may do what an owner may.
#[derive(Clone, Debug)]
pub struct CommandLine {
    /// The organisation.
    pub org: OrgId,
}

impl Principal for CommandLine {
    fn hold(&self, tx: &mut Tx<'_>, _: Time) -> Result<Held> {
        let owner = store::first_owner(tx.conn, self.org)?;
        let owner = owner.ok_or(Error::Conflict("The organisation has no owner."))?;
        let (actor, role) = (Actor::CommandLine, Some(Role::Owner));
        let lasts = Box::new(|_, _| Ok(()));
        Ok(Held { actor, person: owner, role, is_fresh: true, key: None, lasts })
    }

    fn asker(&self) -> Asker {
        // It is the only one in its process.
        Asker::Person(UserId::from_bytes([0; 16]))
    }
}
