//! The ways in which people sign in, as rows: the password, and who they are at providers.

use diesel::prelude::*;

use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::id::{MethodId, UserId};
use crate::people::oauth::Identity;
use crate::people::store::Person;
use crate::schema::{people, sign_in_methods as methods};
use crate::time::Time;

/// A way to sign in.
#[derive(Clone, Debug, Queryable)]
pub struct Method {
    /// Its identifier.
    pub id: MethodId,
    /// `password`, or the kind of provider.
    pub kind: String,
    /// Which provider.
    pub issuer: String,
    /// How the provider calls the person.
    pub label: String,
    /// Since when.
    pub created_at: Time,
    /// When a password was last replaced.
    pub updated_at: Time,
    /// When it was last used.
    pub used_at: Option<Time>,
}

/// The ways of a person, oldest first.
pub fn of_person(conn: &mut Conn, person: UserId) -> Result<Vec<Method>> {
    Ok(methods::table
        .filter(methods::person_id.eq(person))
        .order((methods::created_at, methods::id))
        .select((
            methods::id,
            methods::kind,
            methods::issuer,
            methods::label,
            methods::created_at,
            methods::updated_at,
            methods::used_at,
        ))
        .load(conn)?)
}

/// Whose this identity is. An address never says so.
pub fn by_identity(conn: &mut Conn, identity: &Identity) -> Result<Option<(MethodId, Person)>> {
    Ok(methods::table
        .inner_join(people::table.on(people::id.eq(methods::person_id)))
        .filter(methods::kind.eq(identity.kind.name()))
        .filter(methods::issuer.eq(&identity.issuer).and(methods::subject.eq(&identity.subject)))
        .select((methods::id, people::all_columns))
        .first(conn)
        .optional()?)
}

/// Notes that a person signed in this way, and how the provider calls them now.
pub fn note_use(tx: &mut Tx<'_>, method: MethodId, label: &str, now: Time) -> Result<()> {
    diesel::update(methods::table.find(method))
        .set((methods::label.eq(label), methods::used_at.eq(now)))
        .execute(tx.conn)?;
    Ok(())
}

/// Makes an identity a way in which a person signs in. `Conflict` when it is someone's already.
pub fn connect(tx: &mut Tx<'_>, person: UserId, identity: &Identity, now: Time) -> Result<()> {
    diesel::insert_into(methods::table)
        .values((
            methods::id.eq(MethodId::new(now)),
            methods::person_id.eq(person),
            methods::kind.eq(identity.kind.name()),
            methods::issuer.eq(&identity.issuer),
            methods::subject.eq(&identity.subject),
            methods::label.eq(&identity.label),
            methods::created_at.eq(now),
            methods::updated_at.eq(now),
            methods::used_at.eq(now),
        ))
        .execute(tx.conn)
        .map_err(|error| {
            if violates(&error, "sign_in_methods_subject", "sign_in_methods.kind") {
                Error::Conflict("This sign-in belongs to an account here already.")
            } else {
                error.into()
            }
        })?;
    Ok(())
}

/// Takes a way from a person and returns it. `NotFound` for what is not theirs, `Conflict` for
/// their last one.
pub fn remove(tx: &mut Tx<'_>, person: UserId, method: MethodId) -> Result<Method> {
    // Two removals at once wait here for each other, so that one way always stays.
    diesel::update(people::table.find(person)).set(people::id.eq(person)).execute(tx.conn)?;
    let all = of_person(tx.conn, person)?;
    let found = all.iter().find(|other| other.id == method).cloned().ok_or(Error::NotFound)?;
    if all.len() == 1 {
        return Err(Error::Conflict("This is the only way in which you can sign in. Add another one first."));
    }
    diesel::delete(methods::table.find(method)).execute(tx.conn)?;
    Ok(found)
}
