//! Rows of people.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, violates};
use crate::email;
pub use crate::email::fold as fold_email;
use crate::error::{Error, FieldError, Result};
use crate::id::{OrgId, UserId};
use crate::mail::Recipient;
use crate::schema::people;
use crate::text::{check_name, fold};
use crate::time::Time;

/// A person, with the columns of `people` in order.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Person {
    pub id: UserId,
    /// The address as they wrote it.
    pub email: String,
    /// The address for comparison.
    pub email_folded: String,
    pub name: String,
    /// The IANA name of their time zone, once known.
    pub zone: Option<String>,
    /// Since when they are disabled in all organisations.
    pub disabled_at: Option<Time>,
    pub created_at: Time,
    pub email_verified_at: Option<Time>,
    /// The organisation whose service account this is; `None` for people, who alone sign in.
    pub service_of: Option<OrgId>,
    /// When they were last active, accurate to some minutes.
    pub seen_at: Option<Time>,
    /// How often the account was secured; see [`crate::people::recovery`].
    pub access_generation: i64,
}

impl Person {
    /// The time zone for display; UTC until they have one.
    pub fn time_zone(&self) -> jiff::tz::TimeZone {
        self.zone
            .as_deref()
            .and_then(|name| jiff::tz::TimeZone::get(name).ok())
            .unwrap_or(jiff::tz::TimeZone::UTC)
    }

    pub fn zone_name(&self) -> String {
        self.zone.clone().unwrap_or_else(|| "UTC".to_owned())
    }

    /// Whether this address is the person's.
    pub fn has_address(&self, email: &str) -> bool {
        keys_of(email).contains(&self.email_folded)
    }

    /// The person as the recipient of an e-mail about an organisation, or about themselves if `None`.
    pub fn recipient(&self, org: Option<OrgId>) -> Recipient {
        Recipient { org, person: Some(self.id), name: self.name.clone(), address: self.email.clone() }
    }
}

/// A validated name and address.
#[derive(Clone, Debug)]
pub struct Profile {
    /// 1 to 100 characters.
    pub name: String,
    pub email: String,
}

impl Profile {
    /// Validates both; errors name the fields `name` and `email`.
    pub fn parse(name: &str, email: &str) -> Result<Profile, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = check_person_name(name);
        errors.extend(name.as_ref().err().cloned());
        let email = email.trim();
        errors.extend(email::check(email).err().map(|wrong| FieldError::new("email", wrong)));
        match name {
            Ok(name) if errors.is_empty() => Ok(Profile { name, email: email.to_owned() }),
            _ => Err(errors),
        }
    }
}

/// The longest name of a person, in characters.
pub const MAX_NAME: usize = 100;

/// Validates a person's name; the error is about `name`.
pub fn check_person_name(text: &str) -> Result<String, FieldError> {
    check_name(text, MAX_NAME, "Enter your name.").map_err(|wrong| FieldError::new("name", wrong))
}

/// The values that `people.email_folded` can have for an address, most exact first: before addresses were
/// compared as now, two people may have signed up with two spellings of one address.
pub fn keys_of(address: &str) -> [String; 2] {
    [email::exact(address), fold_email(address)]
}

/// Refuses an address that belongs to someone who is stored under its exact spelling.
pub fn refuse_spelled(tx: &mut Tx<'_>, address: &str, but: Option<UserId>) -> Result<()> {
    let spelled: Vec<(UserId, String)> = people::table
        .filter(people::email_folded.like(format!("{}%", email::EXACT)))
        .select((people::id, people::email))
        .load(tx.conn)?;
    let folded = fold_email(address);
    let is_taken = |(id, known): &(UserId, String)| Some(*id) != but && fold_email(known) == folded;
    if spelled.iter().any(is_taken) { Err(KNOWN_ADDRESS) } else { Ok(()) }
}

/// `taken` for a violation of the uniqueness of addresses; any other error unchanged.
pub(super) fn unless_taken(error: diesel::result::Error, taken: Error) -> Error {
    if violates(&error, "people_email_folded_key", "people.email_folded") { taken } else { error.into() }
}

/// The error for an address that belongs to someone.
pub const KNOWN_ADDRESS: Error = Error::Conflict("This e-mail address is already known here.");

/// Adds a person without a sign-in method. Errors: `Conflict` if the address is known.
pub fn insert(tx: &mut Tx<'_>, profile: &Profile, zone: Option<&str>, now: Time) -> Result<Person> {
    let person = Person {
        id: UserId::new(now),
        email: profile.email.clone(),
        email_folded: fold_email(&profile.email),
        name: profile.name.clone(),
        zone: zone.map(str::to_owned),
        disabled_at: None,
        created_at: now,
        email_verified_at: None,
        service_of: None,
        seen_at: None,
        access_generation: 0,
    };
    refuse_spelled(tx, &person.email, None)?;
    diesel::insert_into(people::table)
        .values((
            people::id.eq(person.id),
            people::email.eq(&person.email),
            people::email_folded.eq(&person.email_folded),
            people::name.eq(&person.name),
            people::zone.eq(&person.zone),
            people::created_at.eq(now),
        ))
        .execute(tx.conn)
        .map_err(|error| unless_taken(error, KNOWN_ADDRESS))?;
    Ok(person)
}

/// The names of people. Pass only ids that an organisation's own data contains.
pub fn names_of(conn: &mut Conn, ids: &[UserId]) -> Result<HashMap<UserId, String>> {
    Ok(names(conn, ids)?.into_iter().map(|(id, (name, _))| (id, name)).collect())
}

/// The people among `ids` whose name or address contains `text`. Pass only ids that an organisation's own
/// data contains.
pub fn named(conn: &mut Conn, ids: &[UserId], text: &str) -> Result<Vec<UserId>> {
    let folded = fold(text);
    let mut named = Vec::new();
    for ids in ids.chunks(500) {
        let rows: Vec<(UserId, String, String)> = people::table
            .filter(people::id.eq_any(ids))
            .select((people::id, people::name, people::email))
            .load(conn)?;
        let is_meant = |row: &&(UserId, String, String)| {
            fold(&row.2).contains(&folded) || fold(&row.1).contains(&folded)
        };
        named.extend(rows.iter().filter(is_meant).map(|row| row.0));
    }
    Ok(named)
}

/// The person with that id.
pub fn find(conn: &mut Conn, id: UserId) -> Result<Option<Person>> {
    Ok(people::table.find(id).first(conn).optional()?)
}

/// Locks a person's account until the transaction ends, and reads the person. Every transaction that changes an
/// account, or records something about it in the logs of its organisations, begins with this, so that such
/// transactions run one after the other and can't deadlock.
pub fn lock(tx: &mut Tx<'_>, id: UserId) -> Result<Option<Person>> {
    tx.take_turns_of(id)?;
    let person = people::table.find(id);
    Ok(match tx.conn {
        Conn::Postgres(conn) => person.for_no_key_update().first(conn).optional()?,
        // SQLite's transaction has locked everything already.
        Conn::Sqlite(conn) => person.first(conn).optional()?,
    })
}

/// Whether a person may sign in. Keeps them from being disabled until the transaction ends.
pub fn lock_enabled(tx: &mut Tx<'_>, id: UserId) -> Result<bool> {
    let enabled = people::table.find(id).filter(people::disabled_at.is_null()).select(people::id);
    let held = match tx.conn {
        // Not a shared lock: a steady stream of requests sharing it would keep the person from being disabled.
        Conn::Postgres(conn) => enabled.for_no_key_update().first::<UserId>(conn).optional()?,
        Conn::Sqlite(conn) => enabled.first::<UserId>(conn).optional()?,
    };
    Ok(held.is_some())
}

/// Names and addresses of people, including former members.
pub fn names(conn: &mut Conn, ids: &[UserId]) -> Result<HashMap<UserId, (String, String)>> {
    let mut names = HashMap::new();
    for ids in ids.chunks(500) {
        let found: Vec<(UserId, String, String)> = people::table
            .filter(people::id.eq_any(ids))
            .select((people::id, people::name, people::email))
            .load(conn)?;
        names.extend(found.into_iter().map(|(id, name, email)| (id, (name, email))));
    }
    Ok(names)
}

/// The person with that address. Service accounts have no address of their own.
pub fn by_email(conn: &mut Conn, address: &str) -> Result<Option<Person>> {
    let found: Vec<Person> = people::table
        .filter(people::email_folded.eq_any(keys_of(address)).and(people::service_of.is_null()))
        .load(conn)?;
    Ok(found.into_iter().max_by_key(|person| person.email_folded.starts_with(email::EXACT)))
}

/// Any person, if there is one.
pub fn any(conn: &mut Conn) -> Result<Option<Person>> {
    Ok(people::table.filter(people::service_of.is_null()).order(people::id).first(conn).optional()?)
}

pub fn all(conn: &mut Conn) -> Result<Vec<Person>> {
    Ok(people::table.filter(people::service_of.is_null()).order(people::email_folded).load(conn)?)
}

/// Disables a person in all organisations, or enables them.
pub fn set_disabled(tx: &mut Tx<'_>, person: UserId, disabled_at: Option<Time>) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::disabled_at.eq(disabled_at)).execute(tx.conn)?;
    Ok(())
}

/// Records that a person's address was verified.
pub fn set_verified(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::email_verified_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

/// Records that a person was active.
pub fn note_seen(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::seen_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

/// Sets a person's name, which must be valid.
pub fn set_name(tx: &mut Tx<'_>, person: UserId, name: &str) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::name.eq(name)).execute(tx.conn)?;
    Ok(())
}

/// Sets a person's time zone.
pub fn set_zone(tx: &mut Tx<'_>, person: UserId, zone: &str) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::zone.eq(zone)).execute(tx.conn)?;
    Ok(())
}
