//! A member's secret calendar address, at which a calendar reads when keys expire. It contains a random
//! token, of which only a digest is stored; it works as long as the membership is active.

use diesel::prelude::*;

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::Acting;
use crate::crypto::{random_base62, sha256};
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::orgs::store::{self, Org};
use crate::people::store::Person;
use crate::role::Role;
use crate::schema::calendar_feeds;
use crate::time::Time;

const TOKEN: usize = 40;

/// Creates a member's address, replacing an earlier one, and returns its token, which is not stored.
pub fn make(tx: &mut Tx<'_>, acting: &Acting) -> Result<zeroize::Zeroizing<String>> {
    let (person, token) = (acting.person()?, random_base62(TOKEN)?);
    remove(tx, acting.org, person)?;
    diesel::insert_into(calendar_feeds::table)
        .values((
            calendar_feeds::org_id.eq(acting.org),
            calendar_feeds::person_id.eq(person),
            calendar_feeds::digest.eq(sha256(token.as_bytes()).as_slice()),
            calendar_feeds::created_at.eq(acting.now),
        ))
        .execute(tx.conn)?;
    log::append(tx, acting, &person.to_string(), &Event::CalendarCreated)?;
    Ok(token)
}

/// Revokes a member's address, if there is one.
pub fn end(tx: &mut Tx<'_>, acting: &Acting) -> Result<()> {
    let person = acting.person()?;
    if remove(tx, acting.org, person)? {
        log::append(tx, acting, &person.to_string(), &Event::CalendarRevoked)?;
    }
    Ok(())
}

fn remove(tx: &mut Tx<'_>, org: OrgId, person: UserId) -> Result<bool> {
    let removed = diesel::delete(calendar_feeds::table.find((org, person))).execute(tx.conn)?;
    Ok(removed > 0)
}

/// When a member's address was created, if they have one.
pub fn made_at(conn: &mut Conn, org: OrgId, person: UserId) -> Result<Option<Time>> {
    Ok(calendar_feeds::table.find((org, person)).select(calendar_feeds::created_at).first(conn).optional()?)
}

/// The organisation, member and role whose calendar the token opens; `None` if the membership has ended, or
/// the member or person is disabled.
pub fn of_token(conn: &mut Conn, token: &str) -> Result<Option<(Org, Person, Role)>> {
    let found: Option<(OrgId, UserId)> = calendar_feeds::table
        .filter(calendar_feeds::digest.eq(sha256(token.as_bytes()).as_slice()))
        .select((calendar_feeds::org_id, calendar_feeds::person_id))
        .first(conn)
        .optional()?;
    let Some((org, person)) = found else { return Ok(None) };
    let member = store::find_member(conn, org, &person.to_string())?.filter(store::Membership::is_active);
    let Some(org) = store::find(conn, org)? else { return Ok(None) };
    Ok(member.map(|member| (org, member.person, member.role)))
}
