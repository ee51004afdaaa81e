//! Exports of the audit log: the filtered list as CSV or JSON Lines, or the whole log with its
//! checkpoint, for offline verification.

use std::sync::Arc;

use actix_web::HttpResponse;
use jiff::tz::TimeZone;

use crate::api::audit::AuditEvent;
use crate::audit::checkpoint::{Note, Signer};
use crate::audit::entry::Entry;
use crate::audit::list::{self, Part};
use crate::audit::{export, signing};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::portal::audit::EntryQuery;
use crate::portal::audit::entry_text::Names;
use crate::portal::kit::visit::Visit;
use crate::web::problem::Problem;
use crate::web::{csv, download};

/// How many keys, and how many people, an export finds by name.
const NAMES: usize = 500;
/// Entries per query.
const CHUNK: i64 = 1_000;
const HEAD: [&str; 10] = [
    "index",
    "time_utc",
    "actor_id",
    "actor",
    "action",
    "target_id",
    "what_happened",
    "address",
    "request_id",
    "details",
];

const JSON_LINES: &str = "application/jsonl; charset=utf-8";

/// A file format.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    JsonLines,
}

/// `GET /o/{org}/audit/export.csv`.
pub async fn as_csv(visit: Visit) -> Result<HttpResponse, Problem> {
    filtered(&visit, Form::Csv).await
}

/// `GET /o/{org}/audit/export.jsonl`.
pub async fn as_json_lines(visit: Visit) -> Result<HttpResponse, Problem> {
    filtered(&visit, Form::JsonLines).await
}

async fn filtered(visit: &Visit, form: Form) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let org = visit.org.id;
    let mut query = EntryQuery::read(visit)?;
    if !query.form_errors.is_empty() {
        return Err(Error::Invalid(query.form_errors.0).into());
    }
    let (filter, any) = visit
        .read(move |conn| {
            let actions = list::actions(conn, org)?;
            let any = query.resolve(conn, org, &actions, NAMES)?;
            Ok((query.filter, any))
        })
        .await?;
    let (kind, ending) = match form {
        Form::Csv => (csv::TYPE, "csv"),
        Form::JsonLines => (JSON_LINES, "jsonl"),
    };
    let (site, filter) = (visit.site.get_ref().clone(), Arc::new(filter));
    let parts = download::parts(Part::Newest, move |part| {
        let (site, filter) = (site.clone(), filter.clone());
        let read = move |conn: &mut Conn| {
            let entries = if any { list::list(conn, org, &filter, part, CHUNK)? } else { Vec::new() };
            let full = i64::try_from(entries.len()) == Ok(CHUNK);
            let next = entries.last().filter(|_| full).map(|last| Part::Before(last.index));
            Ok((text(conn, org, entries, form, part == Part::Newest)?, next))
        };
        async move { site.db.read(read).await }
    });
    Ok(download::head(kind, ("audit", &visit.org.slug, ending), now).streaming(parts))
}

fn text(conn: &mut Conn, org: OrgId, entries: Vec<Entry>, form: Form, first: bool) -> Result<String> {
    let mut out = String::new();
    if form == Form::JsonLines {
        for entry in entries {
            out.push_str(&serde_json::to_string(&AuditEvent::of(entry)).map_err(Error::internal)?);
            out.push('\n');
        }
        return Ok(out);
    }
    if first {
        out = csv::head(HEAD);
    }
    let names = Names::of(conn, org, &entries)?;
    for entry in &entries {
        let said = &entry.body;
        let text = names.entry_text(entry, &TimeZone::UTC);
        let details = if said.details.is_null() { String::new() } else { said.details.to_string() };
        let cells = [
            entry.index.to_string(),
            said.at.rfc3339(),
            said.actor.clone(),
            text.who.clone(),
            said.action.clone(),
            said.target.clone(),
            text.sentence(),
            said.address.clone().unwrap_or_default(),
            said.request_id.clone().unwrap_or_default(),
            details,
        ];
        csv::line(&mut out, cells);
    }
    Ok(out)
}

/// `GET /o/{org}/audit/log.jsonl`: the whole log, as `keydesk audit export` writes it.
pub async fn whole(visit: Visit) -> Result<HttpResponse, Problem> {
    let (org, now) = (visit.org.id, visit.now);
    let (host, signers) =
        (visit.site.public_url.host().to_owned(), Signer::all(&visit.site.defaults.keyring)?);
    let logs = visit.site.db.logs().clone();
    let note = visit.read(move |conn| signing::current(conn, &logs, org, &host, &signers)).await?;
    let size = Note::parse(&note).and_then(|note| note.checkpoint()).map_or(0, |checkpoint| checkpoint.size);
    let (site, note) = (visit.site.get_ref().clone(), Arc::new(note));
    let parts = download::parts(0, move |from: u64| {
        let (site, note) = (site.clone(), note.clone());
        async move {
            if from >= size {
                return Ok((export::trailer(&note)?, None));
            }
            let block = site.db.read(move |conn| export::block(conn, org, size, from)).await?;
            Ok((block, Some(from + export::BLOCK)))
        }
    });
    Ok(download::head(JSON_LINES, ("log", &visit.org.slug, "jsonl"), now).streaming(parts))
}
