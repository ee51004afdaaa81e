//! Who makes and changes keys, and whom they may appoint to answer for them.

use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::keys::{Contact, Key};
use crate::orgs;
use crate::orgs::store::Membership;
use crate::role::{Act, Role};

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

    /// Whether this manager may see that key: who gets its mails may.
    pub fn sees(&self, key: &Key) -> bool {
        self.role.sees_all_keys() || self.owns(key) || self.stands_in_for(key)
    }

    /// Whether this manager may change that key. A backup, and who answers for a
    /// service account, acts for the owner, unless the key can do what their own keys could not:
    /// rotating it would hand them its rights.
    pub fn manages(&self, key: &Key) -> bool {
        let stands_in = || self.stands_in_for(key) && key.scopes.without(self.role.grantable()).is_empty();
        self.role.manages_all_keys() || (self.role.may(Act::WriteKeys) && (self.owns(key) || stands_in()))
    }

    /// Whether this manager may say who answers for that key.
    pub fn appoints(&self, key: &Key) -> bool {
        self.role.manages_all_keys() || (self.role.may(Act::WriteKeys) && self.owns(key))
    }

    fn owns(&self, key: &Key) -> bool {
        key.owner.id == self.person
    }

    fn stands_in_for(&self, key: &Key) -> bool {
        let is_backup = key.backup.as_ref().is_some_and(|backup| backup.id == self.person);
        is_backup || key.answerers.contains(&self.person)
    }

    /// Errors: `NotFound` for who may not see the key, `Forbidden` for who may not change it.
    pub(super) fn check(&self, key: &Key) -> Result<()> {
        match (self.sees(key), self.manages(key)) {
            (false, _) => Err(Error::NotFound),
            (true, false) => Err(Error::Forbidden),
            (true, true) => Ok(()),
        }
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
