//! The search of the audit log: keys and people by name, addresses, identifiers.

use crate::audit::list::{self, Search};
use crate::db::Conn;
use crate::error::Result;
use crate::id::{EventId, OrgId, RequestId};
use crate::text::fold;
use crate::{keys, orgs, people};

/// How many keys, and how many people, a page finds by name.
pub const MOST: usize = 8;
/// How many letters a text needs to match Keydesk itself or the command line.
const LEAST_LETTERS: usize = 3;

/// Finds at most `most` keys and as many people. `true`: more of them have this name.
pub fn resolve(conn: &mut Conn, org: OrgId, text: &str, most: usize) -> Result<(Search, bool)> {
    let text = text.trim();
    if let Some(id) = EventId::parse(text) {
        return Ok((Search { entry: Some(id), ..Search::default() }, false));
    }
    if let Some(id) = RequestId::parse(text) {
        return Ok((
            Search { request: Some((text.to_owned(), id.created_at())), ..Search::default() },
            false,
        ));
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok((Search { address: Some(address.to_string()), ..Search::default() }, false));
    }
    let mut ids = Vec::new();
    if ["key_", "user_", "org_", "inv_", "system"].iter().any(|start| text.starts_with(start)) {
        ids.push(text.to_owned());
    }
    let folded = fold(text);
    let means = |name: &str| folded.chars().count() >= LEAST_LETTERS && name.starts_with(&folded);
    if means("keydesk") {
        ids.push("system".to_owned());
    }
    if means("the command line") || means("command line") {
        ids.push("system:cli".to_owned());
    }
    let mut keys = keys::list::search(conn, org, text, most + 1)?;
    let mut people = orgs::store::named(conn, org, text, most + 1)?;
    let removed = list::removed_people(conn, org)?;
    people.extend(people::store::named(conn, &removed, text)?);
    let more = keys.len() > most || people.len() > most;
    keys.truncate(most);
    people.truncate(most);
    ids.extend(keys.iter().map(ToString::to_string));
    ids.extend(people.iter().map(ToString::to_string));
    Ok((Search { ids, ..Search::default() }, more))
}
