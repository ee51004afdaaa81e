//! Rows of people and their ways to sign in.

use std::collections::HashMap;

use diesel::prelude::*;

use crate::db::{Conn, Tx, violates};
use crate::email;
use crate::error::{Error, FieldError, Result};
use crate::id::{OrgId, UserId};
use crate::mail::Recipient;
use crate::people::credential;
use crate::people::password::Hashed;
use crate::schema::{people, sign_in_methods};
use crate::text::{fold, forbidden_character};
use crate::time::Time;

/// A person. Created in the order of its columns.
#[derive(Clone, Debug, PartialEq, Eq, Queryable)]
pub struct Person {
    pub id: UserId,
    /// The address as they wrote it.
    pub email: String,
    /// The address for comparing.
    pub email_folded: String,
    pub name: String,
    /// The IANA name of their time zone.
    pub zone: Option<String>,
    pub disabled_at: Option<Time>,
    pub created_at: Time,
    pub email_verified_at: Option<Time>,
    /// The organisation whose service account this is; `None` for people, who alone sign in.
    pub service_of: Option<OrgId>,
    /// When they were last here, to some minutes.
    pub seen_at: Option<Time>,
    /// How many times the account was secured; see [`crate::people::recovery`].
    pub access_generation: i64,
}

impl Person {
    /// The zone in which times are shown to them; UTC until they have one.
    pub fn time_zone(&self) -> jiff::tz::TimeZone {
        self.zone
            .as_deref()
            .and_then(|name| jiff::tz::TimeZone::get(name).ok())
            .unwrap_or(jiff::tz::TimeZone::UTC)
    }

    pub fn zone_name(&self) -> String {
        self.zone.clone().unwrap_or_else(|| "UTC".to_owned())
    }

    /// Whether an address is this person's.
    pub fn has_address(&self, email: &str) -> bool {
        keys_of(email).contains(&self.email_folded)
    }

    /// As the reader of a mail about an organisation, or about themselves alone.
    pub fn recipient(&self, org: Option<OrgId>) -> Recipient {
        Recipient { org, person: Some(self.id), name: self.name.clone(), address: self.email.clone() }
    }
}

/// A person's name and address, checked.
#[derive(Clone, Debug)]
pub struct Profile {
    /// 1 to 100 characters.
    pub name: String,
    pub email: String,
}

impl Profile {
    /// Checks both. Errors name the fields `name` and `email`.
    pub fn parse(name: &str, email: &str) -> Result<Profile, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = name.trim();
        let length = name.chars().count();
        if length == 0 {
            errors.push(FieldError::new("name", "Enter your name."));
        } else if length > 100 || name.chars().any(forbidden_character) {
            errors.push(FieldError::new(
                "name",
                "Use at most 100 characters, none of them control characters.",
            ));
        }
        let address = email.trim();
        if let Err(wrong) = email::check(address) {
            errors.push(FieldError::new("email", wrong));
        }
        if errors.is_empty() {
            Ok(Profile { name: name.to_owned(), email: address.to_owned() })
        } else {
            Err(errors)
        }
    }
}

/// The form of an address by which two are the same.
pub fn fold_email(email: &str) -> String {
    email::fold(email)
}

/// What an address can stand under in `people.email_folded`, the most exact form first: two people
/// from before addresses were compared as they are now may have spelled one address in two ways.
pub fn keys_of(address: &str) -> [String; 2] {
    [email::exact(address), fold_email(address)]
}

/// Refuses an address that someone has who is known by its exact spelling alone.
pub fn refuse_spelled(tx: &mut Tx<'_>, address: &str, but: Option<UserId>) -> Result<()> {
    let spelled: Vec<(UserId, String)> = people::table
        .filter(people::email_folded.like(format!("{}%", email::EXACT)))
        .select((people::id, people::email))
        .load(tx.conn)?;
    let folded = fold_email(address);
    let is_taken = |(id, known): &(UserId, String)| Some(*id) != but && fold_email(known) == folded;
    if spelled.iter().any(is_taken) { Err(KNOWN_ADDRESS) } else { Ok(()) }
}

/// What is said of an address that someone has.
pub const KNOWN_ADDRESS: Error = Error::Conflict("This e-mail address is already known here.");

/// Adds a person with a password. `Conflict` when the address is known.
pub fn insert(
    tx: &mut Tx<'_>,
    profile: &Profile,
    zone: Option<&str>,
    password: &Hashed,
    now: Time,
) -> Result<Person> {
    let person = insert_without_method(tx, profile, zone, now)?;
    credential::set(tx, person.id, password, now)?;
    Ok(person)
}

/// Adds a person who can't sign in yet. `Conflict` when the address is known.
pub fn insert_without_method(
    tx: &mut Tx<'_>,
    profile: &Profile,
    zone: Option<&str>,
    now: Time,
) -> Result<Person> {
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
        .map_err(|error| {
            if violates(&error, "people_email_folded_key", "people.email_folded") {
                KNOWN_ADDRESS
            } else {
                error.into()
            }
        })?;
    Ok(person)
}

/// The names of people, whoever they are. Ask only for whom an organisation's own data names.
pub fn names_of(conn: &mut Conn, ids: &[UserId]) -> Result<HashMap<UserId, String>> {
    let mut names = HashMap::new();
    for ids in ids.chunks(500) {
        let rows: Vec<(UserId, String)> =
            people::table.filter(people::id.eq_any(ids)).select((people::id, people::name)).load(conn)?;
        names.extend(rows);
    }
    Ok(names)
}

/// Those of some people whose name or address contains a text. Ask only for whom an organisation's
/// own data names.
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

/// The person of that id.
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

/// Whether a person may sign in. Nobody disables them until the transaction ends.
pub fn hold_enabled(tx: &mut Tx<'_>, id: UserId) -> Result<bool> {
    let enabled = people::table.find(id).filter(people::disabled_at.is_null()).select(people::id);
    let held = match tx.conn {
        // Not a shared lock: a steady stream of requests sharing it would starve the one who disables the person.
        Conn::Postgres(conn) => enabled.for_no_key_update().first::<UserId>(conn).optional()?,
        Conn::Sqlite(conn) => enabled.first::<UserId>(conn).optional()?,
    };
    Ok(held.is_some())
}

/// Names and addresses of people, also of those who have left.
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

/// The person of that address. Service accounts have none that counts.
pub fn by_email(conn: &mut Conn, address: &str) -> Result<Option<Person>> {
    let found: Vec<Person> = people::table
        .filter(people::email_folded.eq_any(keys_of(address)).and(people::service_of.is_null()))
        .load(conn)?;
    Ok(found.into_iter().max_by_key(|person| person.email_folded.starts_with(email::EXACT)))
}

/// Some person, if there is any.
pub fn any(conn: &mut Conn) -> Result<Option<Person>> {
    Ok(people::table.filter(people::service_of.is_null()).order(people::id).first(conn).optional()?)
}

pub fn all(conn: &mut Conn) -> Result<Vec<Person>> {
    Ok(people::table.filter(people::service_of.is_null()).order(people::email_folded).load(conn)?)
}

/// Sets whether a person may sign in anywhere.
pub fn set_disabled(tx: &mut Tx<'_>, person: UserId, disabled_at: Option<Time>) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::disabled_at.eq(disabled_at)).execute(tx.conn)?;
    Ok(())
}

pub fn set_verified(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::email_verified_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

pub fn note_seen(tx: &mut Tx<'_>, person: UserId, now: Time) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::seen_at.eq(now)).execute(tx.conn)?;
    Ok(())
}

/// The ways in which each of these people signs in, by their kinds.
pub fn methods(conn: &mut Conn, people: &[UserId]) -> Result<Vec<(UserId, String)>> {
    Ok(sign_in_methods::table
        .filter(sign_in_methods::person_id.eq_any(people))
        .order((sign_in_methods::kind.desc(), sign_in_methods::id))
        .select((sign_in_methods::person_id, sign_in_methods::kind))
        .load(conn)?)
}

/// Sets a person's name, which has been checked.
pub fn set_name(tx: &mut Tx<'_>, person: UserId, name: &str) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::name.eq(name)).execute(tx.conn)?;
    Ok(())
}

/// Sets the zone in which times are shown to a person.
pub fn set_zone(tx: &mut Tx<'_>, person: UserId, zone: &str) -> Result<()> {
    diesel::update(people::table.find(person)).set(people::zone.eq(zone)).execute(tx.conn)?;
    Ok(())
}
