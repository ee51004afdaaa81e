//! The counts of a usage page as CSV, sent as it is read: one line for each bucket, key, scope and model.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::HttpResponse;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId};
use crate::keys::names::{self, Named};
use crate::portal::keys::RequestedKey;
use crate::portal::kit::visit::Visit;
use crate::portal::usage::params::UsageParams;
use crate::portal::usage::within_reach;
use crate::usage::export::{Cursor, part};
use crate::usage::question::Question;
use crate::web::problem::Problem;
use crate::web::{csv, download};

const HEAD: [&str; 17] = [
    "start_utc",
    "key_id",
    "key_name",
    "owner_id",
    "owner_email",
    "scope",
    "model",
    "requests",
    "ok",
    "client_errors",
    "limited",
    "server_errors",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

/// `GET /o/{org}/usage.csv`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (params, mut question, form_errors) = UsageParams::parse(&visit.query(), visit.now)?;
    if !form_errors.is_empty() {
        return Err(Error::Invalid(form_errors.0).into());
    }
    if question.filter.key.is_some() {
        let requested = RequestedKey::of(&visit, &params.key)?;
        visit.read(move |conn| requested.find(conn)).await?;
    }
    within_reach(&visit, &mut question)?;
    let (site, org, question) = (visit.site.get_ref().clone(), visit.org.id, Arc::new(question));
    // A few thousand lines per query.
    let parts = download::parts(None, move |after| {
        let (site, question) = (site.clone(), question.clone());
        async move { site.db.read(move |conn| text(conn, org, &question, after)).await }
    });
    let file = ("usage", &*visit.org.slug, "csv");
    Ok(download::head(csv::TYPE, file, visit.now).streaming(parts))
}

fn text(
    conn: &mut Conn,
    org: OrgId,
    question: &Question,
    after: Option<Cursor>,
) -> Result<(String, Option<Option<Cursor>>)> {
    let (lines, next) = part(conn, org, question, after)?;
    let mut ids: Vec<KeyId> = lines.keys().map(|(_, key, _, _)| *key).collect();
    ids.sort_unstable();
    ids.dedup();
    let names: HashMap<KeyId, Named> = names::with_owners(conn, org, &ids)?;
    let mut out = String::new();
    if after.is_none() {
        out = csv::head(HEAD);
    }
    for ((start, key, scope, model), totals) in lines {
        let named = names.get(&key);
        let owner = named.map(|named| named.owner.to_string()).unwrap_or_default();
        let numbers = [
            totals.requests,
            totals.ok,
            totals.client_errors,
            totals.limited,
            totals.server_errors,
            totals.input_tokens,
            totals.output_tokens,
            totals.cached_tokens,
            totals.cache_write_tokens,
            totals.reasoning_tokens,
        ];
        let mut cells = vec![
            start.rfc3339(),
            key.to_string(),
            named.map(|named| named.name.clone()).unwrap_or_default(),
            owner,
            named.map(|named| named.owner_email.clone()).unwrap_or_default(),
            scope,
            model,
        ];
        cells.extend(numbers.map(|number| number.to_string()));
        csv::line(&mut out, cells);
    }
    Ok((out, next.map(Some)))
}
