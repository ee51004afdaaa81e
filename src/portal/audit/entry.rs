//! One entry in full, with old and new values side by side.

use actix_web::{HttpResponse, web};
use askama::Template;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::audit::description::{self, Piece};
use crate::audit::entry::{Entry, EntryBody};
use crate::audit::{store, tree};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::path;
use crate::people;
use crate::portal::audit::entry_text::{self, EntryText, Names, Part};
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::time::Time;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/audit/entry.html")]
struct EntryPage {
    layout: Layout,
    org: OrgLink,
    row: EntryText,
    said: EntryBody,
    when: String,
    target: String,
    changes: Vec<Change>,
    details: Vec<(String, Vec<Part>)>,
    text: String,
    leaf: String,
    /// Whether the verification found that it was changed after it was written.
    broken: bool,
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
pub async fn show(visit: Visit, path: web::Path<(String, String)>) -> Result<HttpResponse, Problem> {
    let index: u64 = path.1.parse().map_err(|_| Problem::not_found())?;
    let (org, zone) = (visit.org.id, visit.zone.clone());
    let found = visit.read(move |conn| {
        let entry = store::entry(conn, org, index)?.ok_or(Error::NotFound)?;
        let names = Names::of(conn, org, std::slice::from_ref(&entry))?;
        let target = entry_text::name(conn, org, &entry.body.target)?;
        let details = details(conn, &entry)?;
        Ok((entry, names, target, details, store::head(conn, org)?))
    });
    let (entry, names, target, details, head) = found.await?;
    let value =
        |field: &str, value: &serde_json::Value| names.parts(description::setting_value(field, value), &zone);
    let at: Time = entry.body.at;
    let view = EntryPage {
        layout: visit.layout(NavSection::Audit),
        org: visit.org_link(),
        row: names.entry_text(&entry, &zone),
        when: format::date_time(at, &zone),
        target,
        changes: entry_text::changes(&entry)
            .iter()
            .map(|(name, before, after)| Change {
                field: field(name),
                before: value(name, before),
                after: value(name, after),
            })
            .collect(),
        details: details.into_iter().map(|(name, pieces)| (name, names.parts(pieces, &zone))).collect(),
        leaf: STANDARD.encode(tree::leaf(entry.text.as_bytes())),
        broken: head.broken.as_ref().is_some_and(|(bad, _)| *bad == index),
        before: (entry.index > 0).then_some(entry.index - 1),
        after: (entry.index + 1 < head.entries.cast_signed()).then_some(entry.index + 1),
        zone: visit.zone_name(),
        text: entry.text,
        said: entry.body,
    };
    visit.page(&view)
}

/// The name of a setting or detail, capitalised.
fn field(name: &str) -> String {
    let words = description::field(name).trim_start_matches("the ").replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// The details of an entry, with the names of people.
fn details(conn: &mut Conn, entry: &Entry) -> Result<Vec<(String, Vec<Piece>)>> {
    let details = entry.body.details.as_object().into_iter().flatten();
    let mut details: Vec<(String, Vec<Piece>)> =
        details.map(|(name, detail)| (field(name), description::value(detail))).collect();
    let person = |piece: &Piece| match piece {
        Piece::Person(id) => Some(*id),
        _ => None,
    };
    let people: Vec<UserId> = details.iter().flat_map(|(_, pieces)| pieces).filter_map(person).collect();
    let names = people::store::names_of(conn, &people)?;
    for piece in details.iter_mut().flat_map(|(_, pieces)| pieces) {
        if let Some(name) = person(piece).and_then(|id| names.get(&id)) {
            *piece = Piece::Name(name.clone());
        }
    }
    Ok(details)
}
