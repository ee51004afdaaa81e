//! Fills the audit log of a database's first organisation.
//!
//! The entries are about existing people and keys: a few of them have many entries, most have few. They are hashed
//! as the server hashes them but not authenticated; `keydesk audit recover` adopts them.

use std::fmt::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use keydesk::audit::event::{Change, Event};
use keydesk::audit::{log, store, tree};
use keydesk::authority::{Acting, Actor, RequestSource};
use keydesk::db::Conn;
use keydesk::id::{EventId, KeyId, OrgId, RequestId, UserId};
use keydesk::schema::{api_keys, members, organizations};
use keydesk::scope::Scopes;
use keydesk::time::{DAY, Time};
use serde_json::json;

/// How many entries are written in one transaction.
const BATCH: u64 = 2_000;
/// The number of days over which the entries are spread.
const DAYS: i64 = 730;

/// Writes this many entries.
pub(crate) fn fill(url: &str, wanted: u64) -> Result<()> {
    let mut conn = open(url)?;
    let org: OrgId =
        organizations::table.order(organizations::created_at).select(organizations::id).first(&mut conn)?;
    let people = members::table.filter(members::org_id.eq(org)).select(members::person_id);
    let keys = api_keys::table.filter(api_keys::org_id.eq(org)).select(api_keys::id);
    let mut story = Story {
        org,
        people: people.load(&mut conn)?,
        keys: keys.load(&mut conn)?,
        dice: Dice(0x9E37_79B9_7F4A_7C15),
    };
    if story.keys.is_empty() {
        bail!("there are no keys");
    }
    let (began, now) = (Instant::now(), Time::now());
    let mut written = 0;
    while written < wanted {
        let count = BATCH.min(wanted - written);
        let at =
            |number: u64| now.plus(-DAYS * DAY + DAYS * DAY * number.cast_signed() / wanted.cast_signed());
        let sql = batch(&mut conn, &mut story, (written..written + count).map(at))?;
        conn.batch_execute(&sql)?;
        written += count;
        if written % (BATCH * 50) == 0 || written == wanted {
            eprintln!("{:6.1} s  {written} audit entries", began.elapsed().as_secs_f64());
        }
    }
    conn.batch_execute(if matches!(conn, Conn::Sqlite(_)) { "ANALYZE" } else { "VACUUM ANALYZE" })?;
    Ok(())
}

fn open(url: &str) -> Result<Conn> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        let mut conn = SqliteConnection::establish(path)?;
        conn.batch_execute("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000")?;
        return Ok(Conn::Sqlite(conn));
    }
    if !url.starts_with("postgres") {
        bail!("sqlite: or postgres:");
    }
    let mut conn = PgConnection::establish(url)?;
    conn.batch_execute("SET synchronous_commit = OFF")?;
    Ok(Conn::Postgres(conn))
}

/// A transaction that appends entries of these times.
fn batch(conn: &mut Conn, story: &mut Story, times: impl Iterator<Item = Time>) -> Result<String> {
    let (open, close) = if matches!(conn, Conn::Sqlite(_)) { ("x'", "'") } else { ("'\\x", "'::bytea") };
    let blob = |bytes: &[u8]| format!("{open}{}{close}", hex::encode(bytes));
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let org = blob(story.org.bytes());
    let mut edge = store::head(conn, story.org)?.edge;
    let (mut entries, mut nodes) = (Vec::new(), Vec::new());
    for now in times {
        let (actor, target, event) = story.event(now);
        let place = story.dice.below(250);
        let source = RequestSource {
            address: (actor != Actor::System).then(|| format!("203.0.113.{place}")),
            request: (actor != Actor::System).then(|| RequestId::new(now).to_string()),
            device: None,
        };
        let acting = Acting::system(story.org, source, now);
        let id = EventId::new(now);
        let (action, entry) = log::render(id, &acting, &target, &event)?;
        // Only a transaction yields another principal.
        let entry = entry.replacen("\"actor\":\"system\"", &format!("\"actor\":\"{actor}\""), 1);
        let leaf = tree::leaf(entry.as_bytes());
        entries.push(format!(
            "({org}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            edge.size(),
            blob(id.bytes()),
            now.seconds() * 1_000_000,
            text(&actor.to_string()),
            text(&action),
            text(&target),
            text(&entry),
            blob(&leaf),
            acting.address.as_deref().map_or_else(|| "NULL".to_owned(), text),
        ));
        edge.push(leaf, |level, place, hash| {
            nodes.push(format!("({org}, {level}, {place}, {})", blob(&hash)));
        });
    }
    let mut sql = String::from("BEGIN;");
    write!(
        sql,
        "INSERT INTO audit_entries (org_id, position, id, at, actor, action, target, entry, leaf, address) VALUES {};",
        entries.join(",")
    )?;
    if !nodes.is_empty() {
        write!(sql, "INSERT INTO audit_nodes (org_id, level, place, hash) VALUES {};", nodes.join(","))?;
    }
    write!(
        sql,
        "UPDATE audit_heads SET size = {size}, hashed = {size}, edge = {} WHERE org_id = {org}; COMMIT",
        blob(&edge.bytes()),
        size = edge.size()
    )?;
    Ok(sql)
}

/// Generates events of an organisation.
struct Story {
    org: OrgId,
    people: Vec<UserId>,
    keys: Vec<KeyId>,
    dice: Dice,
}

impl Story {
    /// Who did what to what.
    fn event(&mut self, now: Time) -> (Actor, String, Event) {
        let (person, key) =
            (self.people[self.dice.pick(&self.people)], self.keys[self.dice.pick(&self.keys)]);
        let actor = Actor::Person(person);
        match self.dice.below(100_000) {
            0..45_000 => (actor, person.to_string(), Event::SignedIn),
            45_000..55_000 => (actor, person.to_string(), Event::SignedOut),
            55_000..70_000 => {
                let (before, after) = (json!(600), json!(self.dice.below(10_000)));
                let change = Change { field: "requests_per_minute".into(), before, after };
                (actor, key.to_string(), Event::KeyUpdated { changes: vec![change] })
            }
            70_000..80_000 => {
                let event = Event::KeyCreated {
                    name: format!("batch-{}", self.dice.below(1_000_000)),
                    scopes: Scopes::all(),
                    owner: person,
                    expires_at: Some(now.plus(90 * DAY)),
                    sha256_prefix: "5b1f09c2ae74".to_owned(),
                };
                (actor, key.to_string(), event)
            }
            80_000..85_000 => {
                let event = Event::KeyRotated {
                    old_ends_at: now.plus(DAY),
                    old_sha256_prefix: "5b1f09c2ae74".to_owned(),
                    sha256_prefix: "ae745b1f09c2".to_owned(),
                    expires_at: None,
                };
                (Actor::Key(key), key.to_string(), event)
            }
            85_000..90_000 => {
                (actor, key.to_string(), Event::KeyRevoked { reason: Some("It's old".to_owned()) })
            }
            90_000..95_000 => (actor, key.to_string(), Event::NoticeSeen { ends_at: now.plus(DAY) }),
            95_000..98_000 => {
                let event =
                    Event::MemberRoleChanged { before: "member".to_owned(), after: "auditor".to_owned() };
                (actor, person.to_string(), event)
            }
            98_000..99_900 => (Actor::System, key.to_string(), Event::KeyDisabled),
            99_900..99_999 => (actor, self.org.to_string(), Event::MailTested),
            _ => {
                let change = Change { field: "name".into(), before: json!("Large"), after: json!("Larger") };
                (
                    Actor::CommandLine,
                    self.org.to_string(),
                    Event::OrganizationUpdated { changes: vec![change] },
                )
            }
        }
    }
}

/// Reproducible pseudo-random numbers (xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// One of many; the first ones are much more frequent than the last.
    fn pick<T>(&mut self, of: &[T]) -> usize {
        let part = self.below(1 << 20) as f64 / (1_u64 << 20) as f64;
        ((part * part * part) * of.len() as f64) as usize
    }
}
