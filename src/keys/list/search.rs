//! Finds keys by name, id, hint or fingerprint.

use std::collections::HashSet;

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::keys::list::Filter;
use crate::keys::secret::SHA256_DIGITS;
use crate::schema::{api_keys, key_secrets};
use crate::text::fold;

/// The largest number of search results that a query lists by id.
const FEW: usize = 500;

/// The patterns of a search text.
pub(super) struct Search {
    pub(super) name: String,
    pub(super) last4: String,
    /// The range of digests that begin with the digits; an empty range if the text is not hexadecimal.
    pub(super) digits: (String, String),
    pub(super) id: Option<KeyId>,
}

impl Search {
    pub(super) fn new(text: &str) -> Search {
        let text = text.trim();
        let escaped = fold(text).replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        let is_digest = (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits: String = text.to_lowercase().chars().take(SHA256_DIGITS).collect();
        Search {
            name: format!("%{escaped}%"),
            // Of a copied hint such as `kd_…x9Ka`, only the last four characters are used.
            last4: text.rsplit('…').next().unwrap_or_default().to_owned(),
            digits: if is_digest {
                (digits.clone(), format!("{digits}g"))
            } else {
                ("g".to_owned(), "g".to_owned())
            },
            id: KeyId::parse(text),
        }
    }
}

/// Replaces the search text of a filter by the ids of the keys that it finds, if these are few. A filter
/// that is used several times then searches only once.
pub fn looked_up(conn: &mut Conn, org: OrgId, filter: Filter) -> Result<Filter> {
    let Filter { search: Some(text), among: None, .. } = &filter else { return Ok(filter) };
    let found = search(conn, org, text, FEW + 1)?;
    Ok(match found.len() <= FEW {
        true => Filter { search: None, among: Some(found), ..filter },
        false => filter,
    })
}

/// The ids of at most `most` keys that a search text finds, exact matches of the name first. Only the search
/// within names scans the organisation's keys; all others use an index.
pub fn search(conn: &mut Conn, org: OrgId, text: &str, most: usize) -> Result<Vec<KeyId>> {
    let search = Search::new(text);
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let own = api_keys::table.filter(api_keys::org_id.eq(org)).select(api_keys::id).limit(limit);
    let mut found: Vec<KeyId> = own.filter(api_keys::name_folded.eq(fold(text.trim()))).load(conn)?;
    if let Some(id) = search.id {
        found.extend(own.filter(api_keys::id.eq(id)).load::<KeyId>(conn)?);
    }
    let secrets =
        key_secrets::table.filter(key_secrets::org_id.eq(org)).select(key_secrets::key_id).limit(limit);
    if search.last4.chars().count() == 4 {
        found.extend(secrets.filter(key_secrets::last4.eq(&search.last4)).load::<KeyId>(conn)?);
    }
    let (first, last) = &search.digits;
    if first != last {
        let fits = key_secrets::sha256_prefix.between(first, last);
        found.extend(secrets.filter(fits).load::<KeyId>(conn)?);
    }
    if found.len() < most {
        found.extend(own.filter(api_keys::name_folded.like(search.name).escape('\\')).load::<KeyId>(conn)?);
    }
    let mut seen = HashSet::new();
    found.retain(|id| seen.insert(*id));
    found.truncate(most);
    Ok(found)
}
