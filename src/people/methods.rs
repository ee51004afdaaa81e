//! Sign-in methods, as rows: passwords and identities at providers.

use diesel::prelude::*;

use crate::db::{Conn, Tx, violates};
use crate::error::{Error, Result};
use crate::id::{MethodId, UserId};
use crate::people::credential;
use crate::people::oauth::Identity;
use crate::people::password::HashedPassword;
use crate::people::store::{self, Person, Profile};
use crate::schema::{people, sign_in_methods as methods};
use crate::time::Time;

/// A sign-in method.
#[derive(Clone, Debug, Queryable)]
pub struct Method {
    pub id: MethodId,
    /// `password`, or the kind of provider.
    pub kind: String,
    /// The provider's URL.
    pub issuer: String,
    /// The person's name at the provider.
    pub label: String,
    pub created_at: Time,
    /// When the password was last replaced.
    pub updated_at: Time,
    pub used_at: Option<Time>,
}

/// A person's sign-in methods, oldest first.
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

/// The kinds of each person's sign-in methods.
pub fn kinds_of(conn: &mut Conn, people: &[UserId]) -> Result<Vec<(UserId, String)>> {
    Ok(methods::table
        .filter(methods::person_id.eq_any(people))
        .order((methods::kind.desc(), methods::id))
        .select((methods::person_id, methods::kind))
        .load(conn)?)
}

/// The person with this identity. E-mail addresses are never used to find them.
pub fn by_identity(conn: &mut Conn, identity: &Identity) -> Result<Option<(MethodId, Person)>> {
    Ok(methods::table
        .inner_join(people::table.on(people::id.eq(methods::person_id)))
        .filter(methods::kind.eq(identity.kind.name()))
        .filter(methods::issuer.eq(&identity.issuer).and(methods::subject.eq(&identity.subject)))
        .select((methods::id, people::all_columns))
        .first(conn)
        .optional()?)
}

/// Records a sign-in with this method, and the person's current name at the provider.
pub fn note_use(tx: &mut Tx<'_>, method: MethodId, label: &str, now: Time) -> Result<()> {
    diesel::update(methods::table.find(method))
        .set((methods::label.eq(label), methods::used_at.eq(now)))
        .execute(tx.conn)?;
    Ok(())
}

/// Adds an identity as a sign-in method. Errors: `Conflict` if it belongs to someone already.
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
                Error::Conflict("This sign-in already belongs to an account here.")
            } else {
                error.into()
            }
        })?;
    Ok(())
}

/// Adds a person with a password. Errors: `Conflict` if the address is known.
pub fn insert_person(
    tx: &mut Tx<'_>,
    profile: &Profile,
    zone: Option<&str>,
    password: &HashedPassword,
    now: Time,
) -> Result<Person> {
    let person = store::insert(tx, profile, zone, now)?;
    credential::set(tx, person.id, password, now)?;
    Ok(person)
}

/// Removes and returns a person's sign-in method. Errors: `NotFound` if it isn't theirs, `Conflict` if it
/// is their last one.
pub fn remove(tx: &mut Tx<'_>, person: UserId, method: MethodId) -> Result<Method> {
    // Concurrent removals wait for each other here, so one method always remains.
    diesel::update(people::table.find(person)).set(people::id.eq(person)).execute(tx.conn)?;
    let all = of_person(tx.conn, person)?;
    let found = all.iter().find(|other| other.id == method).cloned().ok_or(Error::NotFound)?;
    if all.len() == 1 {
        return Err(Error::Conflict("This is your only sign-in method. Add another one first."));
    }
    diesel::delete(methods::table.find(method)).execute(tx.conn)?;
    Ok(found)
}
