//! The mails of what happens to a key: made, rotated, revoked. They go to its owner and backup,
//! and ask whether it was someone they know.

use crate::authority::{Acting, Actor};
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::keys::{Key, store};
use crate::mail::message::Message;
use crate::mail::{KeyCreated, KeyFacts, KeyRevoked, KeyRotated, KeyWidened, Why, Widening, outbox};
use crate::orgs;
use crate::people;
use crate::people::store::Person;
use crate::scope::Scope;
use crate::time::Time;

/// A key was made.
pub fn created(tx: &mut Tx<'_>, acting: &Acting, key: &Key) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    let readers = readers(tx.conn, acting, key)?;
    send(tx, acting, readers, |why| KeyCreated { key: facts(key), why, by: by.clone(), at, ends_at }.into())
}

/// A key got a new secret; the old one works until `old_ends_at`.
pub fn rotated(tx: &mut Tx<'_>, acting: &Acting, key: &Key, old_ends_at: Time) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    let readers = readers(tx.conn, acting, key)?;
    send(tx, acting, readers, |why| {
        KeyRotated { key: facts(key), why, by: by.clone(), at, old_ends_at, ends_at }.into()
    })
}

/// A key can do more than before: everybody who answers for it learns of it, those from before the change
/// included, and admins where it holds `admin`.
pub fn widened(
    tx: &mut Tx<'_>,
    acting: &Acting,
    before: &Key,
    after: &Key,
    changes: &[Widening],
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut told = readers(tx.conn, acting, after)?;
    told.extend(admins(tx.conn, acting, after)?);
    // Last, so that those who still have another reason are told that one.
    let former = readers(tx.conn, acting, before)?.into_iter();
    told.extend(former.map(|(person, _)| (person, Why::Former)));
    send_widened(tx, acting, after, changes, told)
}

/// The same for admins alone, where owner and backup learn of it in another e-mail.
pub fn widened_for_admins(tx: &mut Tx<'_>, acting: &Acting, key: &Key, changes: &[Widening]) -> Result<()> {
    let admins = admins(tx.conn, acting, key)?;
    send_widened(tx, acting, key, changes, admins)
}

fn send_widened(
    tx: &mut Tx<'_>,
    acting: &Acting,
    key: &Key,
    changes: &[Widening],
    readers: Vec<(Person, Why)>,
) -> Result<()> {
    let (by, at) = (author(tx.conn, acting)?, acting.now);
    send(tx, acting, readers, |why| {
        KeyWidened { key: facts(key), why, by: by.clone(), at, changes: changes.to_vec() }.into()
    })
}

/// The people who manage all keys, for a key that is an admin itself.
fn admins(conn: &mut Conn, acting: &Acting, key: &Key) -> Result<Vec<(Person, Why)>> {
    if !key.scopes.has(Scope::Admin) {
        return Ok(Vec::new());
    }
    let admins = orgs::store::key_managers(conn, acting.org)?.into_iter();
    Ok(admins.map(|person| (person, Why::Admin)).collect())
}

/// A key was revoked.
pub fn revoked(tx: &mut Tx<'_>, acting: &Acting, key: &Key, reason: Option<&str>) -> Result<()> {
    let (by, at, reason) = (author(tx.conn, acting)?, acting.now, reason.map(str::to_owned));
    let readers = readers(tx.conn, acting, key)?;
    send(tx, acting, readers, |why| {
        KeyRevoked { key: facts(key), why, by: by.clone(), at, reason: reason.clone() }.into()
    })
}

fn facts(key: &Key) -> KeyFacts {
    KeyFacts {
        id: key.id,
        name: key.name.clone(),
        hint: key.fingerprint.hint.clone(),
        owner: key.owner.name.clone(),
        scopes: key.scopes.names().into_iter().map(str::to_owned).collect(),
    }
}

/// Whoever caused it, for people.
fn author(conn: &mut Conn, acting: &Acting) -> Result<String> {
    Ok(match acting.actor {
        Actor::Person(id) => {
            people::store::find(conn, id)?.map_or_else(|| id.to_string(), |person| person.name)
        }
        Actor::Key(id) => store::find(conn, acting.org, id)?
            .map_or_else(|| id.to_string(), |key| format!("The key {}", key.name)),
        Actor::CommandLine => "Someone at the command line".to_owned(),
        Actor::System => "Keydesk".to_owned(),
    })
}

/// Owner and backup, or the people who answer for them, with why each is told.
fn readers(conn: &mut Conn, acting: &Acting, key: &Key) -> Result<Vec<(Person, Why)>> {
    let mut readers = orgs::store::recipients(conn, acting.org, key.owner.id)?;
    if let Some(backup) = &key.backup {
        let backups = orgs::store::recipients(conn, acting.org, backup.id)?.into_iter();
        readers.extend(backups.map(|(person, why)| (person, why.of_backup())));
    }
    Ok(readers)
}

/// Queues a letter for each reader, once even if there are several reasons.
fn send(
    tx: &mut Tx<'_>,
    acting: &Acting,
    readers: Vec<(Person, Why)>,
    letter: impl Fn(Why) -> Message,
) -> Result<()> {
    let mut told = Vec::new();
    for (person, why) in readers {
        if !told.contains(&person.id) {
            told.push(person.id);
            outbox::queue(tx, &person.recipient(Some(acting.org)), &letter(why), acting.now)?;
        }
    }
    Ok(())
}
