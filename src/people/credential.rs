//! Stored passwords.

use diesel::prelude::*;

use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::id::{MethodId, UserId};
use crate::people::password::HashedPassword;
use crate::schema::sign_in_methods as methods;
use crate::time::Time;

/// The kind of the sign-in method that is a password.
pub const PASSWORD: &str = "password";

/// A person's password hash, if they have a password.
pub fn find(conn: &mut Conn, person: UserId) -> Result<Option<HashedPassword>> {
    let stored: Option<Option<String>> = methods::table
        .filter(methods::person_id.eq(person).and(methods::kind.eq(PASSWORD)))
        .select(methods::credential)
        .first(conn)
        .optional()?;
    Ok(stored.flatten().map(HashedPassword::from_stored))
}

/// Sets or replaces a person's password.
pub fn set(tx: &mut Tx<'_>, person: UserId, password: &HashedPassword, now: Time) -> Result<()> {
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

/// Records a sign-in with a password.
pub fn note_use(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    let own = methods::person_id.eq(person).and(methods::kind.eq(PASSWORD));
    diesel::update(methods::table.filter(own)).set(methods::used_at.eq(now)).execute(tx.conn)?;
    Ok(())
}
