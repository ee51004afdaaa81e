//! Changing memberships: role, disabling, removal. The actor's role is read inside the transaction, under
//! a lock of the organisation, so that concurrent changes can't leave it without an owner.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{Acting, Actor};
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::invitation;
use crate::orgs::store::{self, Membership};
use crate::role::{Act, Role};

const LAST_OWNER: Error = Error::Conflict("This is the only owner. Make someone else an owner first.");

/// A member whose keys' rights have changed. Every process must learn of it: pass this to `keys::feed`.
#[must_use = "the processes that hold this member's keys must learn of it"]
#[derive(Debug)]
pub struct Affected {
    pub org: OrgId,
    pub owner: UserId,
}

/// Changes a member's role.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner, `Invalid` for a role that a
/// service account can't have.
pub fn set_role(tx: &mut Tx<'_>, acting: &Acting, who: UserId, role: Role) -> Result<Affected> {
    let (acting_role, member) = managed(tx, acting, who)?;
    if !acting_role.manages(role) {
        return Err(Error::Forbidden);
    }
    if member.is_service() && !Role::OF_SERVICE_ACCOUNTS.contains(&role) {
        return Err(Error::invalid("role", "A service account is a member or an admin."));
    }
    if member.role == role {
        return Ok(Affected { org: acting.org, owner: who });
    }
    if role != Role::Owner {
        keep_an_owner(tx, acting.org, &member)?;
    }
    store::set_role(tx, acting.org, who, role)?;
    let event =
        Event::MemberRoleChanged { before: member.role.name().to_owned(), after: role.name().to_owned() };
    log::append(tx, acting, &who.to_string(), &event)?;
    invitation::withdraw_unbacked(tx, acting, who, Some(role))?;
    Ok(Affected { org: acting.org, owner: who })
}

/// Disables or enables a member in this organisation. Others are not affected.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for oneself and the last owner.
pub fn set_disabled(tx: &mut Tx<'_>, acting: &Acting, who: UserId, disabled: bool) -> Result<Affected> {
    let (_, member) = managed(tx, acting, who)?;
    if acting.actor == Actor::Person(who) {
        return Err(Error::Conflict("You can't disable yourself. You can leave the organisation."));
    }
    if member.disabled_at.is_some() == disabled {
        return Ok(Affected { org: acting.org, owner: who });
    }
    if disabled {
        keep_an_owner(tx, acting.org, &member)?;
    }
    store::set_disabled(tx, acting.org, who, disabled.then_some(acting.now))?;
    let event = if disabled { Event::MemberDisabled } else { Event::MemberEnabled };
    log::append(tx, acting, &who.to_string(), &event)?;
    if disabled {
        invitation::withdraw_unbacked(tx, acting, who, None)?;
    }
    Ok(Affected { org: acting.org, owner: who })
}

/// Prepares the removal of a member: returns the actor's role and the membership, which stays locked until
/// the transaction ends.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner.
pub fn leaving(tx: &mut Tx<'_>, acting: &Acting, who: UserId) -> Result<(Role, Membership)> {
    let (acting_role, member) = if acting.actor == Actor::Person(who) {
        store::lock(tx, acting.org)?;
        let acting_role = acting.member_role()?;
        let member = store::find_member(tx.conn, acting.org, &who.to_string())?.ok_or(Error::NotFound)?;
        (acting_role, member)
    } else {
        managed(tx, acting, who)?
    };
    keep_an_owner(tx, acting.org, &member)?;
    // Waits for anyone who is giving this member a key, and stops later ones.
    store::lock_member(tx, acting.org, who)?;
    Ok((acting_role, member))
}

/// Ends a membership after its keys were dealt with.
pub fn end(tx: &mut Tx<'_>, acting: &Acting, member: &Membership) -> Result<()> {
    let who = member.person.id;
    store::remove_member(tx, acting.org, who)?;
    let event = Event::MemberRemoved { role: member.role.name().to_owned() };
    log::append(tx, acting, &who.to_string(), &event)?;
    invitation::withdraw_unbacked(tx, acting, who, None)
}

/// Locks the organisation and finds a member whom the actor may manage.
fn managed(tx: &mut Tx<'_>, acting: &Acting, who: UserId) -> Result<(Role, Membership)> {
    store::lock(tx, acting.org)?;
    let acting_role = acting.member_role()?;
    let member = store::find_member(tx.conn, acting.org, &who.to_string())?.ok_or(Error::NotFound)?;
    if acting_role.may(Act::WriteMembers) && acting_role.manages(member.role) {
        Ok((acting_role, member))
    } else {
        Err(Error::Forbidden)
    }
}

fn keep_an_owner(tx: &mut Tx<'_>, org: OrgId, member: &Membership) -> Result<()> {
    if member.role != Role::Owner || !member.is_active() {
        return Ok(());
    }
    let others = store::owners(tx.conn, org)?.iter().any(|owner| owner.id != member.person.id);
    if others { Ok(()) } else { Err(LAST_OWNER) }
}
