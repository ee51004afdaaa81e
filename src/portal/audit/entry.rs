//! One entry with all that it says, before and after beside each other.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::audit::entry::Said;
use crate::audit::{sentence, store, tree};
use crate::error::Error;
use crate::portal::audit::told::{self, Names, Part, Told};
use crate::portal::words;
use crate::time::Time;
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/audit/entry.html")]
struct EntryPage {
    layout: Layout,
    org: Place,
    row: Told,
    said: Said,
    when: String,
    target: String,
    changes: Vec<Change>,
    details: Vec<(String, Vec<Part>)>,
    text: String,
    leaf: String,
    before: Option<i64>,
    after: Option<i64>,
    zone: String,
}

struct Change {
    field: String,
    before: Vec<Part>,
    after: Vec<Part>,
}

/// `GET /o/{org}/audit/{index}`.
pub async fn show(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let index: u64 = path.1.parse().map_err(|_| Problem::not_found())?;
    let (org, zone) = (member.org.id, member.person.time_zone());
    let found = site.db.read(move |conn| {
        let entry = store::entry(conn, org, index)?.ok_or(Error::NotFound)?;
        let names = Names::of(conn, org, std::slice::from_ref(&entry))?;
        let target = told::name(conn, org, &entry.said.target)?;
        Ok((entry, names, target, store::head(conn, org)?.size))
    });
    let (entry, names, target, size) = found.await?;
    let value = |value: &serde_json::Value| names.parts(sentence::value(value), &zone);
    let field = |name: &str| {
        let words = sentence::field(name).trim_start_matches("the ").replace('_', " ");
        let mut letters = words.chars();
        letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
    };
    let details = entry.said.details.as_object().into_iter().flatten();
    let at: Time = entry.said.at;
    let view = EntryPage {
        layout: Layout::of(&request, Room::Audit),
        org: Place::of(&member.org),
        row: names.tell(&entry, &zone),
        when: words::date_time(at, &zone),
        target,
        changes: told::changes(&entry)
            .iter()
            .map(|(name, before, after)| Change {
                field: field(name),
                before: value(before),
                after: value(after),
            })
            .collect(),
        details: details.map(|(name, detail)| (field(name), value(detail))).collect(),
        leaf: STANDARD.encode(tree::leaf(entry.text.as_bytes())),
        before: (entry.index > 0).then_some(entry.index - 1),
        after: (entry.index + 1 < size.cast_signed()).then_some(entry.index + 1),
        zone: member.person.zone_name(),
        text: entry.text,
        said: entry.said,
    };
    html(StatusCode::OK, &view)
}
