//! The audit trail as a file, sent as it is read: what the page's filters leave as CSV or JSON
//! lines, or the whole log with its checkpoint, which anyone can check.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use jiff::tz::TimeZone;

use crate::api::audit::AuditEvent;
use crate::audit::checkpoint::{Note, Signer};
use crate::audit::entry::Entry;
use crate::audit::list::{self, Filter, Part};
use crate::audit::{export, store};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::OrgId;
use crate::portal::audit::Question;
use crate::portal::audit::told::Names;
use crate::time::Time;
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, Site, csv};

/// How many entries are read at once.
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

/// The form of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    JsonLines,
}

/// `GET /o/{org}/audit/export.csv`.
pub async fn as_csv(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    filtered(&request, &member, &site, Form::Csv).await
}

/// `GET /o/{org}/audit/export.jsonl`.
pub async fn as_json_lines(
    request: HttpRequest,
    member: Member,
    site: Shared,
) -> Result<HttpResponse, Problem> {
    filtered(&request, &member, &site, Form::JsonLines).await
}

async fn filtered(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    form: Form,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let (org, zone) = (member.org.id, member.person.time_zone());
    let mut question = Question::read(request, now, &zone)?;
    let (filter, any) = site
        .db
        .read(move |conn| {
            let actions = list::actions(conn, org)?;
            let any = question.resolve(conn, org, &actions)?;
            Ok((question.filter, any))
        })
        .await?;
    let lines = lines(site.get_ref().clone(), org, Arc::new(filter), form, any);
    let (kind, ending) = match form {
        Form::Csv => ("text/csv; charset=utf-8; header=present", "csv"),
        Form::JsonLines => ("application/jsonl; charset=utf-8", "jsonl"),
    };
    Ok(file(member, now, "audit", ending, kind).streaming(lines))
}

fn file(member: &Member, now: Time, what: &str, ending: &str, kind: &str) -> actix_web::HttpResponseBuilder {
    let name = format!("keydesk-{what}-{}-{}.{ending}", member.org.slug, &now.rfc3339()[..10]);
    let mut response = HttpResponse::Ok();
    response
        .content_type(kind)
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")));
    response
}

/// How far an export has come.
enum Progress {
    Begin,
    Behind(Part),
    End,
}

/// The lines, read some at a time, and no sooner than the client takes them.
fn lines(
    site: Arc<Site>,
    org: OrgId,
    filter: Arc<Filter>,
    form: Form,
    any: bool,
) -> impl futures_util::Stream<Item = Result<web::Bytes>> {
    stream::unfold(Progress::Begin, move |progress| {
        let (site, filter) = (site.clone(), filter.clone());
        async move {
            let (part, first) = match progress {
                Progress::Begin => (Part::Newest, form == Form::Csv),
                Progress::Behind(part) => (part, false),
                Progress::End => return None,
            };
            let read = site.db.read(move |conn| {
                let entries = if any { list::list(conn, org, &filter, part, CHUNK)? } else { Vec::new() };
                let last = entries.last().map(|entry| entry.index);
                let full = entries.len() as i64 == CHUNK;
                let next =
                    last.filter(|_| full).map_or(Progress::End, |last| Progress::Behind(Part::Before(last)));
                Ok((text(conn, org, entries, form, first)?, next))
            });
            match read.await {
                Ok((text, next)) => Some((Ok(text.into()), next)),
                Err(error) => {
                    tracing::warn!(%error, "an export was broken off");
                    Some((Err(error), Progress::End))
                }
            }
        }
    })
}

fn text(conn: &mut Conn, org: OrgId, entries: Vec<Entry>, form: Form, headed: bool) -> Result<String> {
    let mut out = String::new();
    if headed {
        csv::line(&mut out, HEAD);
    }
    if form == Form::JsonLines {
        for entry in entries {
            out.push_str(&serde_json::to_string(&AuditEvent::of(entry)).map_err(Error::internal)?);
            out.push('\n');
        }
        return Ok(out);
    }
    let names = Names::of(conn, org, &entries)?;
    for entry in &entries {
        let said = &entry.said;
        let told = names.tell(entry, &TimeZone::UTC);
        let details = if said.details.is_null() { String::new() } else { said.details.to_string() };
        let cells = [
            entry.index.to_string(),
            said.at.rfc3339(),
            said.actor.clone(),
            told.who.clone(),
            said.action.clone(),
            said.target.clone(),
            told.sentence(),
            said.address.clone().unwrap_or_default(),
            said.request_id.clone().unwrap_or_default(),
            details,
        ];
        csv::line(&mut out, cells);
    }
    Ok(out)
}

/// `GET /o/{org}/audit/log.jsonl`: the whole log, as `keydesk audit export` writes it.
pub async fn whole(member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let (org, now) = (member.org.id, Time::now());
    let (host, signers) = (site.public_url.host().to_owned(), Signer::all(&site.mint.keyring)?);
    let note = site.db.write(move |tx| store::sign(tx, org, &host, &signers, now)).await?;
    let size = Note::parse(&note).and_then(|note| note.checkpoint()).map_or(0, |told| told.size);
    let (site, note) = (site.get_ref().clone(), Arc::new(note));
    let lines = stream::unfold(Some(0), move |from: Option<u64>| {
        let (site, note) = (site.clone(), note.clone());
        async move {
            let from = from?;
            if from >= size {
                return Some((export::trailer(&note).map(web::Bytes::from), None));
            }
            let block = site.db.read(move |conn| export::block(conn, org, size, from)).await;
            let next = block.is_ok().then_some(from + export::BLOCK);
            Some((block.map(web::Bytes::from), next))
        }
    });
    Ok(file(&member, now, "log", "jsonl", "application/jsonl; charset=utf-8").streaming(lines))
}
