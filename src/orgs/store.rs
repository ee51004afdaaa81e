//! Rows of organisations and members.

use diesel::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::db::{Conn, Tx, violates};
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::orgs::role::Role;
use crate::people::store::Person;
use crate::schema::{members, organizations, people};
use crate::time::Time;

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Org {
    /// Its identifier.
    pub id: OrgId,
    /// Its name in URLs: a–z, 0–9 and `-`.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// When it was set up.
    pub created_at: Time,
}

/// Adds an organisation under the first free slug made from its name.
pub fn insert(tx: &mut Tx<'_>, name: &str, now: Time) -> Result<Org> {
    let base = slug(name);
    for number in 1.. {
        let slug = if number == 1 { base.clone() } else { format!("{base}-{number}") };
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
            // Another set-up took the slug at the same time: the command can be repeated.
            Err(error) if violates(&error, "organizations_slug_key", "organizations.slug") => {
                Err(crate::error::Error::Conflict(
                    "Another organisation of this name was made just now. Try again.",
                ))
            }
            Err(error) => Err(error.into()),
        };
    }
    unreachable!("there is always a free number")
}

/// The organisation of that slug.
pub fn by_slug(conn: &mut Conn, slug: &str) -> Result<Option<Org>> {
    Ok(organizations::table.filter(organizations::slug.eq(slug)).first(conn).optional()?)
}

/// The organisation of that id.
pub fn find(conn: &mut Conn, id: OrgId) -> Result<Option<Org>> {
    Ok(organizations::table.find(id).first(conn).optional()?)
}

/// Makes a person a member.
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

/// The organisations a person belongs to, with their role, oldest membership first.
pub fn of_person(conn: &mut Conn, person: UserId) -> Result<Vec<(Org, Role)>> {
    Ok(members::table
        .inner_join(organizations::table.on(organizations::id.eq(members::org_id)))
        .filter(members::person_id.eq(person))
        .order((members::joined_at, members::org_id))
        .select((organizations::all_columns, members::role))
        .load(conn)?)
}

/// The members of an organisation with their role, by name.
pub fn members_of(conn: &mut Conn, org: OrgId) -> Result<Vec<(Person, Role)>> {
    Ok(members::table
        .inner_join(people::table.on(people::id.eq(members::person_id)))
        .filter(members::org_id.eq(org))
        .order((people::name, people::id))
        .select((people::all_columns, members::role))
        .load(conn)?)
}

/// The member of that id or e-mail address.
pub fn find_member(conn: &mut Conn, org: OrgId, who: &str) -> Result<Option<(Person, Role)>> {
    let query = members::table
        .inner_join(people::table.on(people::id.eq(members::person_id)))
        .filter(members::org_id.eq(org))
        .select((people::all_columns, members::role));
    let found = match UserId::parse(who) {
        Some(id) => query.filter(people::id.eq(id)).first(conn).optional()?,
        None => query
            .filter(people::email_folded.eq(crate::people::store::fold_email(who)))
            .first(conn)
            .optional()?,
    };
    Ok(found)
}

/// The organisation's owner of longest standing.
pub fn first_owner(conn: &mut Conn, org: OrgId) -> Result<Option<Person>> {
    Ok(members::table
        .inner_join(people::table.on(people::id.eq(members::person_id)))
        .filter(members::org_id.eq(org).and(members::role.eq(Role::Owner)))
        .order((members::joined_at, members::person_id))
        .select(people::all_columns)
        .first(conn)
        .optional()?)
}

fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.to_lowercase().nfd().filter(|letter| !is_combining_mark(*letter)) {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug = slug.chars().take(40).collect::<String>();
    let slug = slug.trim_matches('-');
    if slug.is_empty() { "org".to_owned() } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_keep_letters_and_digits() {
        assert_eq!(slug("Acme AI"), "acme-ai");
        assert_eq!(slug("  Ünïcode & Söhne  "), "unicode-sohne");
        assert_eq!(slug("株式会社"), "org");
        assert_eq!(slug(&"a".repeat(100)).len(), 40);
    }
}
