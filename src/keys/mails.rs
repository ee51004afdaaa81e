//! The mails of what happens to a key: made, rotated, revoked. They go to its owner and backup,
//! and ask whether it was someone they know.

use crate::authority::{Acting, Actor};
use crate::db::{Conn, Tx};
use crate::error::Result;
use crate::keys::{Key, store};
use crate::mail::message::Message;
use crate::mail::{KeyCreated, KeyFacts, KeyRevoked, KeyRotated, Why, outbox};
use crate::orgs;
use crate::people;
use crate::time::Time;

/// A key was made.
pub fn created(tx: &mut Tx<'_>, acting: &Acting, key: &Key) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    send(tx, acting, key, |why| KeyCreated { key: facts(key), why, by: by.clone(), at, ends_at }.into())
}

/// A key got a new secret; the old one works until `old_ends_at`.
pub fn rotated(tx: &mut Tx<'_>, acting: &Acting, key: &Key, old_ends_at: Time) -> Result<()> {
    let (by, at, ends_at) = (author(tx.conn, acting)?, acting.now, key.expires_at);
    send(tx, acting, key, |why| {
        KeyRotated { key: facts(key), why, by: by.clone(), at, old_ends_at, ends_at }.into()
    })
}

/// A key was revoked.
pub fn revoked(tx: &mut Tx<'_>, acting: &Acting, key: &Key, reason: Option<&str>) -> Result<()> {
    let (by, at, reason) = (author(tx.conn, acting)?, acting.now, reason.map(str::to_owned));
    send(tx, acting, key, |why| {
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

fn send(tx: &mut Tx<'_>, acting: &Acting, key: &Key, letter: impl Fn(Why) -> Message) -> Result<()> {
    let mut told = Vec::new();
    let backup = key.backup.as_ref().map(|backup| (backup.id, true));
    for (member, is_backup) in std::iter::once((key.owner.id, false)).chain(backup) {
        for (person, why) in orgs::store::recipients(tx.conn, acting.org, member)? {
            if told.contains(&person.id) {
                continue;
            }
            told.push(person.id);
            let why = if is_backup { why.of_backup() } else { why };
            outbox::queue(tx, &person.recipient(Some(acting.org)), &letter(why), acting.now)?;
        }
    }
    Ok(())
}
