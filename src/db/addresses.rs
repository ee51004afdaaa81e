//! Updates the stored, folded forms of e-mail addresses to [`email::fold`].
//!
//! It runs whenever the database is opened, under the lock of the migrations, because SQL can't apply IDNA, whose tables
//! may change with a new version. An ASCII address always folds to its lower case, so only other addresses are read.
//!
//! If two addresses would get the same form, the one that already has it keeps it; otherwise the older one gets it. The
//! other is stored by its exact spelling ([`email::exact`]): both people still sign in with the address as they wrote it,
//! and neither with the other's. Each start tries again and logs what is left.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;

use crate::db::Conn;
use crate::email;
use crate::error::Result;
use crate::id::{InvitationId, OrgId, UserId};
use crate::schema::{invitations, people};

/// Whether an address has characters outside ASCII, which are more than one byte each.
const NOT_ASCII: &str = "octet_length(email) <> length(email)";

/// Refolds the addresses of people and of open invitations.
pub(super) fn refold(conn: &mut Conn) -> Result<()> {
    refold_people(conn)?;
    refold_invitations(conn)
}

fn refold_people(conn: &mut Conn) -> Result<()> {
    let all: Vec<(UserId, String, String)> = people::table
        .filter(sql::<Bool>(NOT_ASCII))
        .order((people::created_at, people::id))
        .select((people::id, people::email, people::email_folded))
        .load(conn)?;
    let stale: Vec<_> = all.into_iter().filter(|(_, email, folded)| email::fold(email) != *folded).collect();
    // First make room: one address may have the form that another is about to get.
    for (id, _, _) in &stale {
        set_person(conn, *id, &format!("{}{id}", email::EXACT))?;
    }
    for (id, address, before) in stale {
        let folded = email::fold(&address);
        let Some(other) = person_at(conn, &folded)? else {
            set_person(conn, id, &folded)?;
            tracing::info!(person = %id, address, before, now = folded, "e-mail address is compared by its IDNA form from now on");
            continue;
        };
        let exact = email::exact(&address);
        if person_at(conn, &exact)?.is_none() {
            set_person(conn, id, &exact)?;
        }
        tracing::warn!(
            person = %id,
            address,
            other = %other,
            "two people have the same e-mail address, spelled in two ways; each signs in with their own \
             spelling. Change the address of one on their account page, or disable one with keydesk user disable"
        );
    }
    Ok(())
}

fn person_at(conn: &mut Conn, folded: &str) -> Result<Option<UserId>> {
    Ok(people::table.filter(people::email_folded.eq(folded)).select(people::id).first(conn).optional()?)
}

fn set_person(conn: &mut Conn, id: UserId, folded: &str) -> Result<()> {
    diesel::update(people::table.find(id)).set(people::email_folded.eq(folded)).execute(conn)?;
    Ok(())
}

fn refold_invitations(conn: &mut Conn) -> Result<()> {
    let all: Vec<(InvitationId, OrgId, String, Option<String>)> = invitations::table
        .filter(sql::<Bool>(NOT_ASCII))
        .filter(invitations::open_email.is_not_null())
        .order((invitations::created_at, invitations::id))
        .select((invitations::id, invitations::org_id, invitations::email, invitations::open_email))
        .load(conn)?;
    let is_stale = |row: &(_, _, String, Option<String>)| row.3.as_ref() != Some(&email::fold(&row.2));
    let stale: Vec<_> = all.into_iter().filter(is_stale).collect();
    for (id, ..) in &stale {
        set_invitation(conn, *id, &format!("{}{id}", email::EXACT))?;
    }
    for (id, org, address, _) in stale {
        let folded = email::fold(&address);
        let taken = invitations::org_id.eq(org).and(invitations::open_email.eq(&folded));
        let taken: Option<InvitationId> =
            invitations::table.filter(taken).select(invitations::id).first(conn).optional()?;
        match taken {
            None => set_invitation(conn, id, &folded)?,
            Some(other) => tracing::warn!(
                invitation = %id,
                other = %other,
                "two invitations of an organisation are open for the same e-mail address, spelled in two \
                 ways; withdraw one on the members page"
            ),
        }
    }
    Ok(())
}

fn set_invitation(conn: &mut Conn, id: InvitationId, folded: &str) -> Result<()> {
    diesel::update(invitations::table.find(id)).set(invitations::open_email.eq(folded)).execute(conn)?;
    Ok(())
}
