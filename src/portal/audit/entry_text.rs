//! Entries as sentences, with names in place of identifiers.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::audit::description::{self, Piece};
use crate::audit::entry::{Entry, UNREADABLE};
use crate::audit::list;
use crate::authority::Actor;
use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::portal::kit::format;
use crate::text::fold;
use crate::time::Time;
use crate::{keys, people};

/// The folded names of actors who are not people.
const OTHERS: [&str; 3] = ["keydesk", "the command line", "unknown actor"];

/// An entry in a list.
pub struct EntryText {
    /// Its index in the log, from 0.
    pub index: i64,
    /// Its number on pages, from 1.
    pub number: String,
    /// In RFC 3339 format.
    pub iso: String,
    /// "15:04".
    pub clock: String,
    pub who: String,
    pub parts: Vec<Part>,
    pub from: String,
}

/// A part of a sentence.
pub struct Part {
    pub text: String,
    /// The key whose page it links to.
    pub key: Option<KeyId>,
    /// Whether it is set in a monospaced font.
    pub is_code: bool,
}

/// The names of the people, keys and other things in a list of entries.
#[derive(Default)]
pub struct Names {
    keys: HashMap<KeyId, String>,
    people: HashMap<UserId, String>,
}

impl Names {
    /// The names in these entries.
    pub fn of(conn: &mut Conn, org: OrgId, entries: &[Entry]) -> Result<Names> {
        let (mut keys, mut people) = (Vec::new(), Vec::new());
        let mut need = |piece: &Piece| match piece {
            Piece::Key(id) => keys.push(*id),
            Piece::Person(id) => people.push(*id),
            _ => {}
        };
        for entry in entries {
            match entry.body.actor() {
                Some(Actor::Key(id)) => need(&Piece::Key(id)),
                Some(Actor::Person(id)) => need(&Piece::Person(id)),
                _ => {}
            }
            pieces(entry).iter().for_each(&mut need);
            for (_, before, after) in changes(entry) {
                description::value(&before).iter().chain(&description::value(&after)).for_each(&mut need);
            }
        }
        Ok(Names {
            keys: keys::names::of(conn, org, &keys)?,
            people: distinct(people::store::names(conn, &people)?),
        })
    }

    /// The name of an actor.
    pub fn actor(&self, text: &str) -> String {
        match Actor::parse(text) {
            Some(Actor::Person(id)) => self.people.get(&id).cloned().unwrap_or_else(|| text.to_owned()),
            Some(Actor::Key(id)) => match self.keys.get(&id) {
                Some(name) => format!("The key {name}"),
                None => text.to_owned(),
            },
            Some(Actor::CommandLine) => "The command line".to_owned(),
            Some(Actor::System) => "Keydesk".to_owned(),
            None if text.is_empty() => "Unknown actor".to_owned(),
            None => text.to_owned(),
        }
    }

    pub fn parts(&self, pieces: Vec<Piece>, zone: &TimeZone) -> Vec<Part> {
        let part = |piece| {
            let (text, key, is_code) = match piece {
                Piece::Text(text) => (text, None, false),
                Piece::Code(text) => (text, None, true),
                Piece::Name(text) => (text, None, false),
                Piece::Person(id) => {
                    (self.people.get(&id).cloned().unwrap_or_else(|| id.to_string()), None, false)
                }
                Piece::Key(id) => match self.keys.get(&id) {
                    Some(name) => (name.clone(), Some(id), false),
                    None => (id.to_string(), None, true),
                },
                Piece::Time(at) => (format::date_time(at, zone), None, false),
                Piece::Number(number) => (format::number(number), None, false),
            };
            Part { text, key, is_code }
        };
        pieces.into_iter().map(part).collect()
    }

    /// The sentence of an entry, with its time in this zone.
    pub fn entry_text(&self, entry: &Entry, zone: &TimeZone) -> EntryText {
        let said = &entry.body;
        EntryText {
            index: entry.index,
            number: format::number(entry.index + 1),
            iso: said.at.rfc3339(),
            clock: format::clock(said.at, zone),
            who: self.actor(&said.actor),
            parts: self.parts(pieces(entry), zone),
            from: said.address.clone().unwrap_or_else(|| "the server".to_owned()),
        }
    }
}

/// Names of people, with the address if two have the same name or it is the name of another actor.
fn distinct(people: HashMap<UserId, (String, String)>) -> HashMap<UserId, String> {
    let mut called: HashMap<String, usize> = HashMap::new();
    for (name, _) in people.values() {
        *called.entry(fold(name)).or_default() += 1;
    }
    let distinct = |(id, (name, address)): (UserId, (String, String))| {
        let folded = fold(&name);
        let is_taken = OTHERS.contains(&&*folded) || folded.starts_with("the key ");
        let alone = called.get(&folded) == Some(&1);
        (id, if alone && !is_taken { name } else { format!("{name} ({address})") })
    };
    people.into_iter().map(distinct).collect()
}

impl EntryText {
    /// The sentence as plain text.
    pub fn sentence(&self) -> String {
        let words: String = self.parts.iter().map(|part| part.text.as_str()).collect();
        format!("{} {words}", self.who)
    }
}

/// The sentence of an entry without its subject.
pub fn pieces(entry: &Entry) -> Vec<Piece> {
    let said = &entry.body;
    match said.event() {
        Some(event) => description::describe(&event, &said.target),
        None if said.action == UNREADABLE => {
            vec![Piece::Text("left an entry that can’t be read".to_owned())]
        }
        None => description::describe_unknown(&said.action, &said.target),
    }
}

/// The settings that an entry reports as changed: name, old value, new value.
pub fn changes(entry: &Entry) -> Vec<(String, serde_json::Value, serde_json::Value)> {
    let changes = entry.body.details["changes"].as_array();
    let change = |change: &serde_json::Value| {
        let field = change["field"].as_str().unwrap_or_default().to_owned();
        (field, change["before"].clone(), change["after"].clone())
    };
    changes.into_iter().flatten().map(change).collect()
}

/// "Today, 23 Nov 2026", "Friday, 20 Nov 2026".
pub fn day(at: Time, now: Time, zone: &TimeZone) -> String {
    let (date, today) = (at.in_zone(zone).date(), now.in_zone(zone).date());
    let name = match today.since(date).map_or(i32::MAX, |span| span.get_days()) {
        0 => "Today".to_owned(),
        1 => "Yesterday".to_owned(),
        _ => at.in_zone(zone).strftime("%A").to_string(),
    };
    format!("{name}, {}", format::date(at, zone))
}

/// The name of an actor or a target in the log; the id, if it has no name.
pub fn name(conn: &mut Conn, org: OrgId, id: &str) -> Result<String> {
    let keys: Vec<KeyId> = KeyId::parse(id).into_iter().collect();
    let mut people: Vec<UserId> = UserId::parse(id).into_iter().collect();
    if !people.is_empty() && !list::mentions(conn, org, id)? {
        people.clear();
    }
    let key = keys::names::of(conn, org, &keys)?.into_values().next();
    let person = people::store::names_of(conn, &people)?.into_values().next();
    Ok(match key.or(person) {
        Some(name) => name,
        None if id == "system" => "Keydesk".to_owned(),
        None if id == "system:cli" => "the command line".to_owned(),
        None if OrgId::parse(id) == Some(org) => "the organisation".to_owned(),
        None => id.to_owned(),
    })
}
