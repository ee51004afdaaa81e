//! Rows about clients and names of actors, shared by the pages about a key.

use crate::db::Conn;
use crate::error::Error;
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::store;
use crate::people;
use crate::portal::kit::format::{self, When};
use crate::time::Time;
use crate::usage::recent::CallerUse;

/// A row of a table of clients.
pub struct CallerRow {
    pub address: String,
    pub program: String,
    pub requests: String,
    /// The time of the latest request.
    pub last: When,
}

impl CallerRow {
    /// The row of a client, for a reader in that zone.
    pub fn new(caller: &CallerUse, now: Time, zone: &jiff::tz::TimeZone) -> CallerRow {
        CallerRow {
            address: caller.address.clone(),
            program: caller.program.clone(),
            requests: format::number(caller.requests),
            last: When::past(caller.last_at, now, zone),
        }
    }
}

/// The name of an actor, or its id if it has none.
pub fn actor(conn: &mut Conn, org: OrgId, text: &str) -> Result<String, Error> {
    if let Some(id) = UserId::parse(text) {
        return Ok(people::store::find(conn, id)?.map_or_else(|| text.to_owned(), |person| person.name));
    }
    if let Some(id) = KeyId::parse(text) {
        return Ok(store::find(conn, org, id)?
            .map_or_else(|| text.to_owned(), |key| format!("the key {}", key.name)));
    }
    Ok(if text == "system:cli" { "the command line".to_owned() } else { text.to_owned() })
}
