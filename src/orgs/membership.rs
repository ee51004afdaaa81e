//! Changing memberships: roles, setting aside, ending. Who may do it follows from the role that
//! the actor has inside the transaction, under a lock of the organisation, so that two changes
//! at once can't leave it without an owner.

use crate::audit::event::{Actor, Context, Event};
use crate::audit::log;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::orgs::invitation;
use crate::orgs::store::{self, Membership};
use crate::role::{Act, Role};

const LAST_OWNER: Error =
    Error::Conflict("This is the only owner. Make someone else an owner first; nothing was changed.");

/// Someone whose keys may do something else from now on. Every process must learn of it: hand
/// this to `keys::feed`.
#[must_use = "the processes that hold this member's keys must learn of it"]
#[derive(Debug)]
pub struct Affected {
    /// In which organisation.
    pub org: OrgId,
    /// Whose keys.
    pub owner: UserId,
}

/// The role in which the actor acts now. Whoever runs the command line may do what owners may.
pub fn acting_role(tx: &mut Tx<'_>, context: &Context) -> Result<Role> {
    match context.actor {
        Actor::Person(id) => {
            let acting = store::find_member(tx.conn, context.org, &id.to_string())?;
            acting.filter(Membership::is_active).map(|member| member.role).ok_or(Error::Forbidden)
        }
        Actor::CommandLine => Ok(Role::Owner),
        Actor::Key(_) | Actor::System => Err(Error::Forbidden),
    }
}

/// Gives a member another role.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner, `Invalid` for a role that a
/// service account can't have.
pub fn set_role(tx: &mut Tx<'_>, context: &Context, who: UserId, role: Role) -> Result<Affected> {
    let (acting, member) = managed(tx, context, who)?;
    if !acting.manages(role) {
        return Err(Error::Forbidden);
    }
    if member.is_service() && !Role::OF_SERVICE_ACCOUNTS.contains(&role) {
        return Err(Error::invalid("role", "A service account is a member or an admin."));
    }
    if member.role == role {
        return Ok(Affected { org: context.org, owner: who });
    }
    if role != Role::Owner {
        keep_an_owner(tx, context.org, &member)?;
    }
    store::set_role(tx, context.org, who, role)?;
    let event =
        Event::MemberRoleChanged { before: member.role.name().to_owned(), after: role.name().to_owned() };
    log::append(tx, context, &who.to_string(), &event)?;
    invitation::withdraw_unbacked(tx, context, who, Some(role))?;
    Ok(Affected { org: context.org, owner: who })
}

/// Sets a membership aside, or takes it up again. The person may go on in other organisations.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for oneself and the last owner.
pub fn set_disabled(tx: &mut Tx<'_>, context: &Context, who: UserId, disabled: bool) -> Result<Affected> {
    let (_, member) = managed(tx, context, who)?;
    if context.actor == Actor::Person(who) {
        return Err(Error::Conflict("You can't disable yourself. You can leave the organisation."));
    }
    if member.disabled_at.is_some() == disabled {
        return Ok(Affected { org: context.org, owner: who });
    }
    if disabled {
        keep_an_owner(tx, context.org, &member)?;
    }
    store::set_disabled(tx, context.org, who, disabled.then_some(context.now))?;
    let event = if disabled { Event::MemberDisabled } else { Event::MemberEnabled };
    log::append(tx, context, &who.to_string(), &event)?;
    if disabled {
        invitation::withdraw_unbacked(tx, context, who, None)?;
    }
    Ok(Affected { org: context.org, owner: who })
}

/// The member who is about to be removed or to leave, with the role in which the actor acts.
/// The membership is locked until the transaction ends.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` for the last owner.
pub fn leaving(tx: &mut Tx<'_>, context: &Context, who: UserId) -> Result<(Role, Membership)> {
    let (acting, member) = if context.actor == Actor::Person(who) {
        store::lock(tx, context.org)?;
        let acting = acting_role(tx, context)?;
        let member = store::find_member(tx.conn, context.org, &who.to_string())?.ok_or(Error::NotFound)?;
        (acting, member)
    } else {
        managed(tx, context, who)?
    };
    keep_an_owner(tx, context.org, &member)?;
    // Whoever gives this member a key at this moment has done so before, or can't any more.
    store::lock_member(tx, context.org, who)?;
    Ok((acting, member))
}

/// Ends a membership whose keys are settled.
pub fn end(tx: &mut Tx<'_>, context: &Context, member: &Membership) -> Result<()> {
    let who = member.person.id;
    store::remove_member(tx, context.org, who)?;
    let event = Event::MemberRemoved { role: member.role.name().to_owned() };
    log::append(tx, context, &who.to_string(), &event)?;
    invitation::withdraw_unbacked(tx, context, who, None)
}

/// Locks the organisation and finds someone whom the actor may manage.
fn managed(tx: &mut Tx<'_>, context: &Context, who: UserId) -> Result<(Role, Membership)> {
    store::lock(tx, context.org)?;
    let acting = acting_role(tx, context)?;
    let member = store::find_member(tx.conn, context.org, &who.to_string())?.ok_or(Error::NotFound)?;
    if acting.may(Act::WriteMembers) && acting.manages(member.role) {
        Ok((acting, member))
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
