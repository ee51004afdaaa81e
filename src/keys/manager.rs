//! What a member may do with keys, and whom they may choose as owner and backup.

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

/// A member who sees or changes keys.
#[derive(Clone, Copy, Debug)]
pub struct KeyManager {
    /// The signed-in person, or the owner of the calling key.
    pub person: UserId,
    pub role: Role,
}

impl KeyManager {
    /// The member who makes a change.
    ///
    /// Errors: `Forbidden` for a principal without a role.
    pub fn of(acting: &Acting) -> Result<KeyManager> {
        Ok(KeyManager { person: acting.person()?, role: acting.role()? })
    }

    /// Whether they may see the key. Everyone who receives its e-mail may.
    pub fn sees(&self, key: &Key) -> bool {
        self.role.sees_all_keys() || self.owns(key) || self.stands_in_for(key)
    }

    /// Whether they may do this to the key. The backup, and the people responsible for a service account,
    /// stand in for the owner: they may revoke the key if their role could grant all of its scopes, and rotate
    /// it if the new secret gives them nothing that a key of their own could not do.
    pub fn may(&self, action: KeyAction, key: &Key, bounds: &StandInBounds) -> bool {
        self.edits(key)
            || (self.role.may(Act::WriteKeys)
                && self.stands_in_for(key)
                && match action {
                    KeyAction::Edit => false,
                    KeyAction::Rotate => bounds.allow(self.role, key),
                    KeyAction::Revoke => key.scopes.without(self.role.grantable()).is_empty(),
                })
    }

    /// Whether they may change the key's settings, owner and backup.
    pub fn edits(&self, key: &Key) -> bool {
        self.role.manages_all_keys() || (self.role.may(Act::WriteKeys) && self.owns(key))
    }

    fn owns(&self, key: &Key) -> bool {
        key.owner.id == self.person
    }

    fn stands_in_for(&self, key: &Key) -> bool {
        self.backs_up(key) || key.answerers.contains(&self.person)
    }

    /// Checks that they may do this to the key.
    ///
    /// Errors: `NotFound` if they may not see the key, `Forbidden` or `Denied` if they may not do this.
    pub(super) fn check(&self, tx: &mut Tx<'_>, action: KeyAction, key: &Key) -> Result<()> {
        if self.edits(key) {
            return Ok(());
        }
        policy::store::lock_shared(tx, key.org)?;
        self.check_within(&StandInBounds::read(tx.conn, key)?, action, key)
    }

    /// The same with bounds that were read before.
    pub fn check_within(&self, bounds: &StandInBounds, action: KeyAction, key: &Key) -> Result<()> {
        if !self.sees(key) {
            return Err(Error::NotFound);
        }
        match (self.may(action, key, bounds), self.stands_in_for(key)) {
            (true, _) => Ok(()),
            (false, true) if action == KeyAction::Edit => Err(Error::Denied(
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

    /// The member who will own a key, with their role: the named one, or else this one.
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

/// A kind of change to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAction {
    /// Change its settings, owner or backup, disable or enable it, extend an overlap.
    Edit,
    /// Rotate it, or end or shorten an overlap.
    Rotate,
    Revoke,
}

/// Limits what a stand-in for the owner may rotate, since they get the new secret and with it everything
/// that the key can do.
pub struct StandInBounds {
    policy: Policy,
    owner_role: Option<Role>,
}

impl StandInBounds {
    /// Reads the bounds for a key.
    pub fn read(conn: &mut Conn, key: &Key) -> Result<StandInBounds> {
        let policy = policy::store::find(conn, key.org)?;
        let owner = orgs::store::find_member(conn, key.org, &key.owner.id.to_string())?;
        Ok(StandInBounds { policy, owner_role: owner.map(|owner| owner.role) })
    }

    /// Whether someone in this role could create a key that can do as much as this one.
    fn allow(&self, role: Role, key: &Key) -> bool {
        key.scopes.without(self.policy.grantable(role)).is_empty()
            && self.owner_role.is_none_or(|owner| !reaches_further(key, owner, role))
    }

    /// Whether the key could do more if its owner had this role.
    pub(super) fn grows_for(&self, heir: Role, key: &Key) -> bool {
        let Some(owner) = self.owner_role else { return true };
        let gained = self.policy.grantable(heir).without(self.policy.grantable(owner));
        !key.scopes.intersection(gained).is_empty() || reaches_further(key, heir, owner)
    }
}

/// Whether the key can read more usage if its owner has the role `wide` instead of `narrow`: with
/// `analytics:read`, a key reads what its owner may read.
fn reaches_further(key: &Key, wide: Role, narrow: Role) -> bool {
    let sees_all = |role: Role| role.reach(Act::ReadUsage) == Reach::All;
    key.scopes.has(Scope::AnalyticsRead) && sees_all(wide) && !sees_all(narrow)
}

/// The member with this id or e-mail address, as the new owner or backup of a key.
///
/// Errors: `Invalid` if there is no such member or they are disabled.
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

/// The member with this id or e-mail address, locked until the transaction ends.
pub(super) fn member(tx: &mut Tx<'_>, acting: &Acting, field: &'static str, who: &str) -> Result<Membership> {
    let unknown = || Error::invalid(field, "Enter the id or e-mail address of a member of the organisation.");
    let found = orgs::store::find_member(tx.conn, acting.org, who)?.ok_or_else(unknown)?;
    // Read again now that the row is locked: someone who has just left must not get a key.
    orgs::store::lock_member_shared(tx, acting.org, found.person.id)?;
    let id = found.person.id.to_string();
    orgs::store::find_member(tx.conn, acting.org, &id)?.ok_or_else(unknown)
}
