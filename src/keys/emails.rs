//! Queues the e-mails about changes to a key: created, rotated, extended, revoked. They go to its owner and
//! backup.

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

/// Notifies that a key was created.
pub fn created(tx: &mut Tx<'_>, acting: &Acting, key: &Key) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    let readers = readers(tx.conn, acting, key)?;
    send(tx, acting, readers, |why| KeyCreated { key: facts(key), why, by: by.clone(), at, ends_at }.into())
}

/// Notifies that a key was rotated; the old secret works until `old_ends_at`.
pub fn rotated(tx: &mut Tx<'_>, acting: &Acting, key: &Key, old_ends_at: Time) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    let readers = readers(tx.conn, acting, key)?;
    send(tx, acting, readers, |why| {
        KeyRotated { key: facts(key), why, by: by.clone(), at, old_ends_at, ends_at }.into()
    })
}

/// Notifies that a key can do more than before: its owner and backup, those from before the change too, and
/// all admins if it has the scope `admin`.
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
    let mut recipients = readers(tx.conn, acting, after)?;
    recipients.extend(admins(tx.conn, acting, after)?);
    // Last, so that someone who has another reason too gets that reason.
    let former = readers(tx.conn, acting, before)?.into_iter();
    recipients.extend(former.map(|(person, _)| (person, Why::Former)));
    send_widened(tx, acting, after, changes, recipients)
}

/// The same for admins only, where owner and backup get another e-mail about it.
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

/// The people who manage all keys, for a key with the scope `admin`.
fn admins(conn: &mut Conn, acting: &Acting, key: &Key) -> Result<Vec<(Person, Why)>> {
    if !key.scopes.has(Scope::Admin) {
        return Ok(Vec::new());
    }
    let admins = orgs::store::key_managers(conn, acting.org)?.into_iter();
    Ok(admins.map(|person| (person, Why::Admin)).collect())
}

/// Notifies that a key was revoked.
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

/// The name of who made the change.
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

/// The recipients of a key's e-mail, each with the reason: its owner and backup, or the people responsible
/// for them if they are service accounts.
fn readers(conn: &mut Conn, acting: &Acting, key: &Key) -> Result<Vec<(Person, Why)>> {
    let mut readers = orgs::store::recipients(conn, acting.org, key.owner.id)?;
    if let Some(backup) = &key.backup {
        let backups = orgs::store::recipients(conn, acting.org, backup.id)?.into_iter();
        readers.extend(backups.map(|(person, why)| (person, why.of_backup())));
    }
    Ok(readers)
}

/// Queues an e-mail for each reader; one with several reasons gets it once, with the first.
fn send(
    tx: &mut Tx<'_>,
    acting: &Acting,
    readers: Vec<(Person, Why)>,
    letter: impl Fn(Why) -> Message,
) -> Result<()> {
    let mut recipients = Vec::new();
    for (person, why) in readers {
        if !recipients.contains(&person.id) {
            recipients.push(person.id);
            outbox::queue(tx, &person.recipient(Some(acting.org)), &letter(why), acting.now)?;
        }
    }
    Ok(())
}
