//! Who makes and changes keys, and whom they may appoint to answer for them.

use crate::authority::Acting;
use crate::db::{Conn, Tx};
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::keys::{Contact, Key};
use crate::orgs;
use crate::orgs::policy::{self, Policy};
use crate::orgs::store::Membership;
use crate::role::{Act, Reach, Role};
use crate::scope::Scope;

/// Who makes or changes keys, and what they may.
#[derive(Clone, Copy, Debug)]
pub struct Manager {
    /// The person who does it, or who answers for the key that does.
    pub person: UserId,
    /// That person's role now.
    pub role: Role,
}

impl Manager {
    /// What the principal of a change may do to keys.
    ///
    /// Errors: `Forbidden` for one without a role.
    pub fn of(acting: &Acting) -> Result<Manager> {
        Ok(Manager { person: acting.person()?, role: acting.role()? })
    }

    /// Whether they may see that key: anyone who gets its e-mails may.
    pub fn sees(&self, key: &Key) -> bool {
        self.role.sees_all_keys() || self.owns(key) || self.stands_in_for(key)
    }

    /// Whether they may do that to the key. A backup, and the people who answer for a service account,
    /// stand in for the owner of a key that their role could hold: they may revoke it, and rotate it where
    /// that hands them nothing that a key of their own could not have.
    pub fn may(&self, deed: Deed, key: &Key, bounds: &StandInBounds) -> bool {
        self.edits(key)
            || (self.role.may(Act::WriteKeys)
                && self.stands_in_for(key)
                && match deed {
                    Deed::Edit => false,
                    Deed::Rotate => bounds.allow(self.role, key),
                    Deed::Revoke => key.scopes.without(self.role.grantable()).is_empty(),
                })
    }

    /// Whether they may change everything about the key that can be changed.
    pub fn edits(&self, key: &Key) -> bool {
        self.role.manages_all_keys() || (self.role.may(Act::WriteKeys) && self.owns(key))
    }

    fn owns(&self, key: &Key) -> bool {
        key.owner.id == self.person
    }

    fn stands_in_for(&self, key: &Key) -> bool {
        self.backs_up(key) || key.answerers.contains(&self.person)
    }

    /// Errors: `NotFound` if they may not see the key, `Forbidden` and `Denied` if they may not do that.
    pub(super) fn check(&self, tx: &mut Tx<'_>, deed: Deed, key: &Key) -> Result<()> {
        if self.edits(key) {
            return Ok(());
        }
        policy::store::hold(tx, key.org)?;
        self.check_within(&StandInBounds::read(tx.conn, key)?, deed, key)
    }

    /// The same within bounds that were read before.
    pub fn check_within(&self, bounds: &StandInBounds, deed: Deed, key: &Key) -> Result<()> {
        if !self.sees(key) {
            return Err(Error::NotFound);
        }
        match (self.may(deed, key, bounds), self.stands_in_for(key)) {
            (true, _) => Ok(()),
            (false, true) if deed == Deed::Edit => Err(Error::Denied(
                "A backup can view, rotate and revoke this key. Ask its owner or an admin to change it.",
            )),
            (false, true) => Err(Error::Denied(
                "This key can do more than a key of yours could. Ask its owner or an admin.",
            )),
            (false, false) => Err(Error::Forbidden),
        }
    }

    /// Whether they are the key's backup.
    pub fn backs_up(&self, key: &Key) -> bool {
        key.backup.as_ref().is_some_and(|backup| backup.id == self.person)
    }

    /// The member who is to own a key, and their role; this one unless someone is named.
    pub(super) fn choose_owner(
        &self,
        tx: &mut Tx<'_>,
        acting: &Acting,
        who: Option<&str>,
    ) -> Result<(Contact, Role)> {
        let own = self.person.to_string();
        let found = appointed(tx, acting, "owner", who.unwrap_or(&own))?;
        if found.0.id != self.person && !self.role.manages_all_keys() {
            return Err(Error::invalid("owner", "Only admins can give a key to someone else."));
        }
        Ok(found)
    }
}

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Change its settings, owner and backup, disable and enable it, lengthen an overlap.
    Edit,
    /// Replace its secret, or end the old one early.
    Rotate,
    /// End it.
    Revoke,
}

/// What bounds a rotation by somebody who stands in for the owner: it hands them the new secret, and with
/// it what the key can do.
pub struct StandInBounds {
    policy: Policy,
    owner_role: Option<Role>,
}

impl StandInBounds {
    /// The bounds for a key.
    pub fn read(conn: &mut Conn, key: &Key) -> Result<StandInBounds> {
        let policy = policy::store::find(conn, key.org)?;
        let owner = orgs::store::find_member(conn, key.org, &key.owner.id.to_string())?;
        Ok(StandInBounds { policy, owner_role: owner.map(|owner| owner.role) })
    }

    /// Whether a key of somebody in this role could hold all that the key holds, and reach as far.
    fn allow(&self, role: Role, key: &Key) -> bool {
        key.scopes.without(self.policy.grantable(role)).is_empty()
            && self.owner_role.is_none_or(|owner| !reaches_further(key, owner, role))
    }

    /// Whether the key can do something in the hands of an owner in this role that it can't do now.
    pub(super) fn grows_for(&self, heir: Role, key: &Key) -> bool {
        let Some(owner) = self.owner_role else { return true };
        let gained = self.policy.grantable(heir).without(self.policy.grantable(owner));
        !key.scopes.intersection(gained).is_empty() || reaches_further(key, heir, owner)
    }
}

/// Whether a key sees more usage if it belongs to somebody in the role `wide` than in the role `narrow`:
/// with `analytics:read` a key sees what its owner sees.
fn reaches_further(key: &Key, wide: Role, narrow: Role) -> bool {
    let sees_all = |role: Role| role.reach(Act::ReadUsage) == Reach::All;
    key.scopes.has(Scope::AnalyticsRead) && sees_all(wide) && !sees_all(narrow)
}

/// The member who is to get the key or to be its backup; one who is set aside is not.
pub(super) fn appointed(
    tx: &mut Tx<'_>,
    acting: &Acting,
    field: &'static str,
    who: &str,
) -> Result<(Contact, Role)> {
    let member = member(tx, acting, field, who)?;
    if !member.is_active() {
        return Err(Error::invalid(
            field,
            format!("{} is disabled. Choose another member.", member.person.name),
        ));
    }
    let Membership { person, role, .. } = member;
    Ok((Contact { id: person.id, email: person.email, name: person.name }, role))
}

/// The member of that id or address, who stays one until the transaction ends.
pub(super) fn member(tx: &mut Tx<'_>, acting: &Acting, field: &'static str, who: &str) -> Result<Membership> {
    let unknown = || Error::invalid(field, "Name a member of the organisation, by id or e-mail address.");
    let found = orgs::store::find_member(tx.conn, acting.org, who)?.ok_or_else(unknown)?;
    // Looked at again once it is held: whoever leaves at this moment gets no more keys.
    orgs::store::hold_member(tx, acting.org, found.person.id)?;
    let id = found.person.id.to_string();
    orgs::store::find_member(tx.conn, acting.org, &id)?.ok_or_else(unknown)
}
