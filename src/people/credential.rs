//! Stored passwords.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{MethodId, UserId};
use crate::people::password::Hashed;
use crate::schema::sign_in_methods as methods;
use crate::time::Time;

/// The kind of the way to sign in that is a password.
pub const PASSWORD: &str = "password";

/// The hash of a person's password, if they have one.
pub fn find(conn: &mut Conn, person: UserId) -> Result<Option<Hashed>> {
    let stored: Option<Option<String>> = methods::table
        .filter(methods::person_id.eq(person).and(methods::kind.eq(PASSWORD)))
        .select(methods::credential)
        .first(conn)
        .optional()?;
    Ok(stored.flatten().map(Hashed::from_stored))
}

/// Gives a person a password, or another one.
pub fn set(tx: &mut Tx<'_>, person: UserId, password: &Hashed, now: Time) -> Result<()> {
    let own = methods::person_id.eq(person).and(methods::kind.eq(PASSWORD));
    let changed = diesel::update(methods::table.filter(own))
        .set((methods::credential.eq(password.expose()), methods::updated_at.eq(now)))
        .execute(tx.conn)?;
    if changed > 0 {
        return Ok(());
    }
    diesel::insert_into(methods::table)
        .values((
            methods::id.eq(MethodId::new(now)),
            methods::person_id.eq(person),
            methods::kind.eq(PASSWORD),
            methods::subject.eq(person.to_string()),
            methods::credential.eq(password.expose()),
            methods::created_at.eq(now),
            methods::updated_at.eq(now),
        ))
        .execute(tx.conn)?;
    Ok(())
}

/// Notes that a person signed in with their password.
pub fn note_use(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    let own = methods::person_id.eq(person).and(methods::kind.eq(PASSWORD));
    diesel::update(methods::table.filter(own)).set(methods::used_at.eq(now)).execute(tx.conn)?;
    Ok(())
}
