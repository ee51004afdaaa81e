//! Invitations: valid for one address, one use and seven days.
//!
//! Following the e-mailed link proves access to that mailbox. An invitation is bound to its address: only
//! the person with that address can accept it. When a member loses the right to invite, their open
//! invitations are withdrawn.

use diesel::prelude::*;

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::{AccountHolder, Acting, Actor};
use crate::crypto::Keyring;
use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::id::{InvitationId, OrgId, UserId};
use crate::mail::{self, Recipient, outbox};
use crate::orgs::store::{self, Org};
use crate::people::store::{Profile, fold_email};
use crate::role::{Act, Role};
use crate::schema::{invitations, organizations, people};
use crate::time::{DAY, MINUTE, Time};

/// How many days an invitation is valid after it was last sent.
pub const DAYS: i64 = 7;
/// How often an invitation can be sent, so that it can't flood a mailbox.
const MOST_SENDS: i64 = 10;
/// The purpose of the link token.
const PURPOSE: &str = "invitation";

/// An invitation that was neither accepted nor withdrawn.
#[derive(Clone, Debug, Queryable)]
pub struct Invitation {
    pub id: InvitationId,
    pub org: Org,
    /// The address to which it was sent. Accepting it requires this very address, verified by a sign-in
    /// provider if one is used.
    pub email: String,
    pub role: Role,
    /// The inviter's name.
    pub invited_by: String,
    /// When it was last sent.
    pub sent_at: Time,
    /// When it expires.
    pub ends_at: Time,
}

/// The joined selection from which every query for invitations starts.
macro_rules! invited {
    () => {
        invitations::table
            .inner_join(organizations::table.on(organizations::id.eq(invitations::org_id)))
            .inner_join(people::table.on(people::id.eq(invitations::invited_by)))
            .filter(invitations::accepted_at.is_null().and(invitations::withdrawn_at.is_null()))
            .select((
                invitations::id,
                organizations::all_columns,
                invitations::email,
                invitations::role,
                people::name,
                invitations::sent_at,
                invitations::ends_at,
            ))
    };
}

/// The token of an invitation link.
pub fn token(keyring: &Keyring, id: InvitationId) -> String {
    keyring.link_token(PURPOSE, &id.to_string())
}

/// The invitation of a link token; `None` if the token is not valid.
pub fn open(conn: &mut Conn, keyring: &Keyring, token: &str, now: Time) -> Result<Option<Invitation>> {
    let Some(id) = keyring.open_link_token(PURPOSE, token).and_then(InvitationId::parse) else {
        return Ok(None);
    };
    Ok(invited!().filter(invitations::id.eq(id).and(invitations::ends_at.gt(now))).first(conn).optional()?)
}

/// An organisation's invitations that were neither accepted nor withdrawn, newest first. Expired ones can
/// still be sent again.
pub fn pending(conn: &mut Conn, org: OrgId) -> Result<Vec<Invitation>> {
    Ok(invited!()
        .filter(invitations::org_id.eq(org))
        .order((invitations::sent_at.desc(), invitations::id.desc()))
        .load(conn)?)
}

/// Invites an address. The result is the same whether or not it belongs to a person.
///
/// Errors: `Forbidden` for a role that the actor may not assign, `Invalid` for an address that is invalid,
/// is a member's or has an open invitation.
pub fn invite(tx: &mut Tx<'_>, acting: &Acting, email: &str, role: Role) -> Result<Invitation> {
    let email = Profile::parse("-", email).map_err(Error::Invalid)?.email;
    store::lock(tx, acting.org)?;
    let acting_role = acting.member_role()?;
    let Actor::Person(inviter) = acting.actor else { return Err(Error::Forbidden) };
    if !(acting_role.may(Act::WriteMembers) && acting_role.manages(role)) {
        return Err(Error::Forbidden);
    }
    require_fresh(acting, role)?;
    if store::find_member(tx.conn, acting.org, &email)?.is_some() {
        return Err(Error::invalid("email", "This address already belongs to a member."));
    }
    let (id, folded) = (InvitationId::new(acting.now), fold_email(&email));
    let other_way = "This address has an open invitation. Send it again, or withdraw it first.";
    let open = invitations::org_id.eq(acting.org).and(invitations::open_email.eq(&folded));
    // An expired invitation makes way for a new one.
    diesel::update(invitations::table.filter(open.and(invitations::ends_at.le(acting.now))))
        .set((invitations::open_email.eq(None::<String>), invitations::withdrawn_at.eq(acting.now)))
        .execute(tx.conn)?;
    diesel::insert_into(invitations::table)
        .values((
            invitations::id.eq(id),
            invitations::org_id.eq(acting.org),
            invitations::email.eq(&email),
            invitations::open_email.eq(&folded),
            invitations::role.eq(role),
            invitations::invited_by.eq(inviter),
            invitations::created_at.eq(acting.now),
            invitations::sent_at.eq(acting.now),
            invitations::sends.eq(1_i64),
            invitations::ends_at.eq(acting.now.plus(DAYS * DAY)),
        ))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "invitations_open_email", "invitations.open_email") {
                Error::invalid("email", other_way)
            } else {
                error.into()
            }
        })?;
    log::append(tx, acting, &id.to_string(), &Event::InvitationCreated { role: role.name().to_owned() })?;
    let invitation = find(tx, acting.org, id)?;
    send(tx, &invitation, acting.now)?;
    Ok(invitation)
}

/// Sends an invitation again and extends it to seven days from now.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` if it was sent ten times or less than a minute ago.
pub fn send_again(tx: &mut Tx<'_>, acting: &Acting, id: InvitationId) -> Result<Invitation> {
    let invitation = managed(tx, acting, id)?;
    require_fresh(acting, invitation.role)?;
    if acting.now.since(invitation.sent_at) < MINUTE {
        return Err(Error::Conflict("This invitation was sent less than a minute ago. Wait a moment."));
    }
    let sent = diesel::update(invitations::table.find(id))
        .filter(invitations::sends.lt(MOST_SENDS))
        .set((
            invitations::sends.eq(invitations::sends + 1),
            invitations::sent_at.eq(acting.now),
            invitations::ends_at.eq(acting.now.plus(DAYS * DAY)),
        ))
        .execute(tx.conn)?;
    if sent == 0 {
        return Err(Error::Conflict("This invitation was sent ten times. Withdraw it and send a new one."));
    }
    log::append(tx, acting, &id.to_string(), &Event::InvitationSentAgain)?;
    let invitation = find(tx, acting.org, id)?;
    send(tx, &invitation, acting.now)?;
    Ok(invitation)
}

/// Withdraws an invitation, which invalidates its link. Errors: `NotFound`, `Forbidden`.
pub fn withdraw(tx: &mut Tx<'_>, acting: &Acting, id: InvitationId) -> Result<Invitation> {
    let invitation = managed(tx, acting, id)?;
    close(tx, acting, id)?;
    Ok(invitation)
}

/// Makes the account's owner a member.
///
/// Errors: `NotFound` if the invitation is no longer valid, `Forbidden` if it was sent to another address.
pub fn accept(tx: &mut Tx<'_>, holder: &AccountHolder, id: InvitationId) -> Result<Org> {
    let now = holder.now;
    let person = crate::people::store::find(tx.conn, holder.person)?.ok_or(Error::SignedOut)?;
    let bound: Option<(OrgId, String)> = invitations::table
        .find(id)
        .select((invitations::org_id, invitations::email))
        .first(tx.conn)
        .optional()?;
    let (org, email) = bound.ok_or(Error::NotFound)?;
    if !person.has_address(&email) || person.disabled_at.is_some() {
        return Err(Error::Forbidden);
    }
    store::lock(tx, org)?;
    let accepted = diesel::update(invitations::table.find(id))
        .filter(invitations::accepted_at.is_null().and(invitations::withdrawn_at.is_null()))
        .filter(invitations::ends_at.gt(now))
        .set((invitations::accepted_at.eq(now), invitations::open_email.eq(None::<String>)))
        .execute(tx.conn)?;
    if accepted != 1 {
        return Err(Error::NotFound);
    }
    // Someone who changed their address to an invited one may already be a member.
    if store::find_member(tx.conn, org, &person.id.to_string())?.is_none() {
        let role = invitations::table.find(id).select(invitations::role).first::<Role>(tx.conn)?;
        store::add_member(tx, org, person.id, role, now)?;
        let event = Event::MemberJoined { role: role.name().to_owned(), invitation: id };
        log::append(tx, &holder.in_org(org), &person.id.to_string(), &event)?;
    }
    store::find(tx.conn, org)?.ok_or(Error::NotFound)
}

/// Withdraws the open invitations whose role their inviter may no longer assign; all of them if the inviter
/// has no role.
pub fn withdraw_unbacked(
    tx: &mut Tx<'_>,
    acting: &Acting,
    inviter: UserId,
    role: Option<Role>,
) -> Result<()> {
    let given: Vec<(InvitationId, Role)> = invitations::table
        .filter(invitations::org_id.eq(acting.org).and(invitations::invited_by.eq(inviter)))
        .filter(invitations::accepted_at.is_null().and(invitations::withdrawn_at.is_null()))
        .order(invitations::id)
        .select((invitations::id, invitations::role))
        .load(tx.conn)?;
    for (id, given) in given {
        if !role.is_some_and(|role| role.manages(given)) {
            close(tx, acting, id)?;
        }
    }
    Ok(())
}

fn send(tx: &mut Tx<'_>, invitation: &Invitation, now: Time) -> Result<()> {
    let to = Recipient {
        org: Some(invitation.org.id),
        person: None,
        name: String::new(),
        address: invitation.email.clone(),
    };
    let content = mail::Invitation {
        id: invitation.id.to_string(),
        org: invitation.org.name.clone(),
        invited_by: invitation.invited_by.clone(),
        role: invitation.role.with_article(),
        ends_at: invitation.ends_at,
    };
    outbox::queue(tx, &to, &content.into(), now)
}

/// Giving someone the right to manage members requires a fresh sign-in.
fn require_fresh(acting: &Acting, role: Role) -> Result<()> {
    if role.may(Act::WriteMembers) { acting.require_fresh() } else { Ok(()) }
}

fn managed(tx: &mut Tx<'_>, acting: &Acting, id: InvitationId) -> Result<Invitation> {
    store::lock(tx, acting.org)?;
    let invitation = find(tx, acting.org, id)?;
    let acting_role = acting.member_role()?;
    if acting_role.may(Act::WriteMembers) && acting_role.manages(invitation.role) {
        Ok(invitation)
    } else {
        Err(Error::Forbidden)
    }
}

fn close(tx: &mut Tx<'_>, acting: &Acting, id: InvitationId) -> Result<()> {
    diesel::update(invitations::table.find(id))
        .set((invitations::withdrawn_at.eq(acting.now), invitations::open_email.eq(None::<String>)))
        .execute(tx.conn)?;
    log::append(tx, acting, &id.to_string(), &Event::InvitationWithdrawn)
}

fn find(tx: &mut Tx<'_>, org: OrgId, id: InvitationId) -> Result<Invitation> {
    let found = invited!()
        .filter(invitations::org_id.eq(org).and(invitations::id.eq(id)))
        .first(tx.conn)
        .optional()?;
    found.ok_or(Error::NotFound)
}
