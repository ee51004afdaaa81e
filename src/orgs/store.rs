//! Rows of organisations and members.

use diesel::prelude::*;
use diesel::result::Error as DieselError;

use crate::db::{Conn, Tx, each_readable, violates};
use crate::error::Result;
use crate::id::{OrgId, OrgSlug, UserId, readable};
use crate::mail::Why;
use crate::orgs::slug::slug;
use crate::people::store::{Person, keys_of};
use crate::role::Role;
use crate::schema::{calendar_feeds, members, organizations, people, service_answerers};
use crate::text::fold;
use crate::time::Time;

#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Org {
    pub id: OrgId,
    pub slug: OrgSlug,
    /// The display name.
    pub name: String,
    pub created_at: Time,
}

/// Adds an organisation with the first free slug made from its name.
pub fn insert(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<Org> {
    let base = slug(name);
    for number in 1.. {
        let slug = OrgSlug::from(if number == 1 { base.clone() } else { format!("{base}-{number}") });
        let taken: i64 =
            organizations::table.filter(organizations::slug.eq(&slug)).count().get_result(tx.conn)?;
        if taken > 0 {
            continue;
        }
        let org = Org { id: OrgId::new(now), slug, name: name.to_owned(), created_at: now };
        let inserted = diesel::insert_into(organizations::table)
            .values((
                organizations::id.eq(org.id),
                organizations::slug.eq(&org.slug),
                organizations::name.eq(&org.name),
                organizations::created_at.eq(org.created_at),
            ))
            .execute(tx.conn);
        return match inserted {
            Ok(_) => Ok(org),
            // A concurrent set-up took the slug; the command can be repeated.
            Err(error) if violates(&error, "organizations_slug_key", "organizations.slug") => {
                Err(crate::error::Error::Conflict(
                    "Another organisation of this name was just created. Try again.",
                ))
            }
            Err(error) => Err(error.into()),
        };
    }
    unreachable!("there is always a free number")
}

/// The organisation with that slug.
pub fn by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Org>> {
    Ok(organizations::table.filter(organizations::slug.eq(slug)).first(conn).optional()?)
}

/// The organisation with that id.
pub fn find(conn: &mut Conn, id: OrgId) -> Result<Option<Org>> {
    Ok(organizations::table.find(id).first(conn).optional()?)
}

/// Adds a person or a service account as a member.
pub fn add_member(tx: &mut Tx<'_>, org: OrgId, person: UserId, role: Role, now: Time) -> Result<()> {
    diesel::insert_into(members::table)
        .values((
            members::org_id.eq(org),
            members::person_id.eq(person),
            members::role.eq(role),
            members::joined_at.eq(now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// A membership of an organisation.
#[derive(Clone, Debug, Queryable)]
pub struct Membership {
    /// A person or a service account.
    pub person: Person,
    pub role: Role,
    pub joined_at: Time,
    /// Since when the member is disabled in this organisation.
    pub disabled_at: Option<Time>,
}

impl Membership {
    /// Whether neither the membership nor its person is disabled.
    pub fn is_active(&self) -> bool {
        self.disabled_at.is_none() && self.person.disabled_at.is_none()
    }

    /// Whether the member is a service account.
    pub fn is_service(&self) -> bool {
        self.person.service_of.is_some()
    }
}

/// The joined selection from which every query for memberships starts.
macro_rules! memberships {
    ($org:expr) => {
        members::table
            .inner_join(people::table.on(people::id.eq(members::person_id)))
            .filter(members::org_id.eq($org))
            .select((people::all_columns, members::role, members::joined_at, members::disabled_at))
    };
}

/// The organisations in which a person may act, with their role, oldest membership first.
pub fn of_person(conn: &mut Conn, person: UserId) -> Result<Vec<(Org, Role)>> {
    let all = members::table
        .inner_join(organizations::table.on(organizations::id.eq(members::org_id)))
        .filter(members::person_id.eq(person).and(members::disabled_at.is_null()))
        .order((members::joined_at, members::org_id))
        .select((organizations::all_columns, members::role));
    match all.load(conn) {
        Err(DieselError::DeserializationError(_)) => {
            let orgs = readable(all.select(members::org_id).load(conn)?);
            each_readable(orgs, |org: OrgId| Ok(all.filter(members::org_id.eq(org)).first(conn)?))
        }
        orgs => Ok(orgs?),
    }
}

/// The organisations to which a person belongs, including those in which they are disabled.
pub fn ids_of_person(conn: &mut Conn, person: UserId) -> Result<Vec<OrgId>> {
    Ok(members::table
        .filter(members::person_id.eq(person))
        .order(members::org_id)
        .select(members::org_id)
        .load(conn)?)
}

/// The members of an organisation, by name.
pub fn members_of(conn: &mut Conn, org: OrgId) -> Result<Vec<Membership>> {
    Ok(memberships!(org).order((people::name, people::id)).load(conn)?)
}

/// The memberships of those of these people who are members.
pub fn some_members(
    conn: &mut Conn,
    org: OrgId,
    people: impl IntoIterator<Item = UserId>,
) -> Result<Vec<Membership>> {
    Ok(memberships!(org).filter(members::person_id.eq_any(people)).load(conn)?)
}

/// At most `most` members whose name or address contains `text`.
pub fn named(conn: &mut Conn, org: OrgId, text: &str, most: usize) -> Result<Vec<UserId>> {
    let all: Vec<(UserId, String, String)> = members::table
        .inner_join(people::table.on(people::id.eq(members::person_id)))
        .filter(members::org_id.eq(org))
        .select((people::id, people::name, people::email))
        .load(conn)?;
    let folded = fold(text);
    let is_meant = |name: &str, email: &str| fold(email).contains(&folded) || fold(name).contains(&folded);
    let meant = all.into_iter().filter(|(_, name, email)| is_meant(name, email));
    Ok(meant.map(|(id, _, _)| id).take(most).collect())
}

/// The member with that id or e-mail address.
pub fn find_member(conn: &mut Conn, org: OrgId, who: &str) -> Result<Option<Membership>> {
    let found = match UserId::parse(who) {
        Some(id) => memberships!(org).filter(people::id.eq(id)).first(conn).optional()?,
        None => {
            let found: Vec<Membership> =
                memberships!(org).filter(people::email_folded.eq_any(keys_of(who))).load(conn)?;
            // If there are two, the one with this exact spelling.
            found.into_iter().max_by_key(|member| member.person.email_folded.starts_with(crate::email::EXACT))
        }
    };
    Ok(found)
}

/// Locks the organisation's memberships until the transaction ends, so that they don't change between a
/// check and the change that depends on it.
pub fn lock(tx: &mut Tx<'_>, org: OrgId) -> Result<()> {
    // SQLite's transaction has locked everything already.
    if let Conn::Postgres(conn) = tx.conn {
        organizations::table.find(org).select(organizations::id).for_no_key_update().first::<OrgId>(conn)?;
    }
    Ok(())
}

/// Locks one membership in shared mode until the transaction ends, which keeps it from ending.
pub fn lock_member_shared(tx: &mut Tx<'_>, org: OrgId, person: UserId) -> Result<()> {
    if let Conn::Postgres(conn) = tx.conn {
        members::table
            .find((org, person))
            .select(members::person_id)
            .for_share()
            .first::<UserId>(conn)
            .optional()?;
    }
    Ok(())
}

/// Locks one membership exclusively, to end it; waits for shared locks.
pub fn lock_member(tx: &mut Tx<'_>, org: OrgId, person: UserId) -> Result<()> {
    if let Conn::Postgres(conn) = tx.conn {
        members::table
            .find((org, person))
            .select(members::person_id)
            .for_update()
            .first::<UserId>(conn)
            .optional()?;
    }
    Ok(())
}

/// Changes a member's role.
pub fn set_role(tx: &mut Tx<'_>, org: OrgId, person: UserId, role: Role) -> Result<()> {
    diesel::update(members::table.find((org, person))).set(members::role.eq(role)).execute(tx.conn)?;
    Ok(())
}

/// Disables or enables a member in this organisation.
pub fn set_disabled(tx: &mut Tx<'_>, org: OrgId, person: UserId, disabled_at: Option<Time>) -> Result<()> {
    diesel::update(members::table.find((org, person)))
        .set(members::disabled_at.eq(disabled_at))
        .execute(tx.conn)?;
    Ok(())
}

/// Removes a member.
pub fn remove_member(tx: &mut Tx<'_>, org: OrgId, person: UserId) -> Result<()> {
    diesel::delete(members::table.find((org, person))).execute(tx.conn)?;
    // Their calendar address must not work again if they are invited again.
    diesel::delete(calendar_feeds::table.find((org, person))).execute(tx.conn)?;
    Ok(())
}

macro_rules! owners {
    ($org:expr) => {
        members::table
            .inner_join(people::table.on(people::id.eq(members::person_id)))
            .filter(members::org_id.eq($org).and(members::role.eq(Role::Owner)))
            .filter(members::disabled_at.is_null().and(people::disabled_at.is_null()))
            .order((members::joined_at, members::person_id))
    };
}

/// The organisation's active owners, oldest membership first.
pub fn owners(conn: &mut Conn, org: OrgId) -> Result<Vec<Person>> {
    Ok(owners!(org).select(people::all_columns).load(conn)?)
}

/// The active people who manage all keys of the organisation.
pub fn key_managers(conn: &mut Conn, org: OrgId) -> Result<Vec<Person>> {
    let members = members_of(conn, org)?.into_iter();
    let managers =
        members.filter(|member| member.is_active() && !member.is_service() && member.role.manages_all_keys());
    Ok(managers.map(|member| member.person).collect())
}

/// The organisation's active owner with the oldest membership.
pub fn first_owner(conn: &mut Conn, org: OrgId) -> Result<Option<UserId>> {
    Ok(owners!(org).select(people::id).first(conn).optional()?)
}

/// The recipients of e-mails about a key of this owner, with the reason: the owner, or the people
/// responsible for a service account; if none of them is active, the organisation's owners.
pub fn recipients(conn: &mut Conn, org: OrgId, owner: UserId) -> Result<Vec<(Person, Why)>> {
    let (members, why) = match find_member(conn, org, &owner.to_string())? {
        Some(membership) if membership.is_service() => (answerers(conn, org, owner)?, Why::Answerer),
        membership => (membership.into_iter().collect(), Why::Owner),
    };
    let recipients: Vec<_> =
        members.into_iter().filter(Membership::is_active).map(|member| (member.person, why)).collect();
    if recipients.is_empty() {
        return Ok(owners(conn, org)?.into_iter().map(|person| (person, Why::Admin)).collect());
    }
    Ok(recipients)
}

/// The people who are responsible for a service account, by name.
pub fn answerers(conn: &mut Conn, org: OrgId, account: UserId) -> Result<Vec<Membership>> {
    let answering = service_answerers::table
        .filter(service_answerers::org_id.eq(org).and(service_answerers::account_id.eq(account)))
        .select(service_answerers::person_id);
    Ok(memberships!(org)
        .filter(members::person_id.eq_any(answering))
        .order((people::name, people::id))
        .load(conn)?)
}
