//! What a search text means in the audit trail: keys and people by name, addresses, identifiers.

use crate::audit::list::Search;
use crate::db::Conn;
use crate::error::Result;
use crate::id::{EventId, OrgId, RequestId};
use crate::text::fold;
use crate::{keys, orgs};

/// How many keys, and how many people, a name may stand for.
const MOST: usize = 8;

/// Resolves a search text.
pub fn resolve(conn: &mut Conn, org: OrgId, text: &str) -> Result<Search> {
    let text = text.trim();
    if let Some(id) = EventId::parse(text) {
        return Ok(Search { entry: Some(id), ..Search::default() });
    }
    if let Some(id) = RequestId::parse(text) {
        return Ok(Search { request: Some((text.to_owned(), id.made_at())), ..Search::default() });
    }
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(Search { address: Some(address.to_string()), ..Search::default() });
    }
    let is_id = ["key_", "user_", "org_", "inv_", "system"].iter().any(|start| text.starts_with(start));
    let mut ids = Vec::new();
    if is_id {
        ids.push(text.to_owned());
    }
    let folded = fold(text);
    if "keydesk".starts_with(&folded) {
        ids.push("system".to_owned());
    }
    if "the command line".contains(&folded) {
        ids.push("system:cli".to_owned());
    }
    ids.extend(keys::list::named(conn, org, text, MOST)?.iter().map(ToString::to_string));
    ids.extend(orgs::store::named(conn, org, text, MOST)?.iter().map(ToString::to_string));
    Ok(Search { ids, ..Search::default() })
}
