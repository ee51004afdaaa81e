//! All findings as CSV, open and kept, sent as they are read.

use actix_web::HttpResponse;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::names;
use crate::people;
use crate::portal::kit::visit::Visit;
use crate::review::findings::Findings;
use crate::review::rules::FindingKind;
use crate::review::store;
use crate::time::Time;
use crate::web::problem::Problem;
use crate::web::{csv, download};

/// How many findings are read at once.
const STEP: i64 = 1_000;
/// The most decisions that are exported.
const KEEPS: i64 = 100_000;

const HEAD: [&str; 13] = [
    "finding",
    "state",
    "key_id",
    "key_name",
    "owner_id",
    "owner_email",
    "scope",
    "since_utc",
    "reviewed_by_id",
    "reviewed_by_email",
    "reviewed_at_utc",
    "kept_until_utc",
    "looked_at_utc",
];

/// What comes next.
#[derive(Clone, Copy)]
enum Place {
    Head,
    Card(usize, Option<KeyId>),
    Kept,
}

/// `GET /o/{org}/review.csv`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (site, org, now) = (visit.site.get_ref().clone(), visit.org.id, visit.now);
    let parts = download::parts(Place::Head, move |place| {
        let site = site.clone();
        async move {
            let scanned = site.scans.last(org);
            site.db.read(move |conn| part(conn, org, place, scanned, now)).await
        }
    });
    let file = ("review", &*visit.org.slug, "csv");
    Ok(download::head(csv::TYPE, file, now).streaming(parts))
}

fn part(
    conn: &mut Conn,
    org: OrgId,
    place: Place,
    scanned: Option<Time>,
    now: Time,
) -> Result<(String, Option<Place>)> {
    let mut out = String::new();
    let (place, after) = match place {
        Place::Head => {
            return Ok((csv::head(HEAD), Some(Place::Card(0, None))));
        }
        Place::Card(place, after) => (place, after),
        Place::Kept => return Ok((kept(conn, org, scanned, now)?, None)),
    };
    let Some(kind) = FindingKind::ALL.get(place).copied() else { return Ok((out, Some(Place::Kept))) };
    let findings = Findings::load(conn, org, now)?;
    let looked_at = looked_at(&findings, scanned);
    let mut found = findings.of_kind_after(conn, kind, after, STEP)?;
    let is_last = i64::try_from(found.len()).unwrap_or(STEP) < STEP;
    if !is_last {
        // The last key may have more findings than were read.
        let last = found.last().map(|row| row.0);
        found.retain(|row| Some(row.0) != last);
    }
    let ids: Vec<KeyId> = found.iter().map(|row| row.0).collect();
    let names = names::with_owners(conn, org, &ids)?;
    for (key, scope, since) in &found {
        let named = names.get(key);
        let cells = [
            kind.name().to_owned(),
            "open".to_owned(),
            key.to_string(),
            named.map(|named| named.name.clone()).unwrap_or_default(),
            named.map(|named| named.owner.to_string()).unwrap_or_default(),
            named.map(|named| named.owner_email.clone()).unwrap_or_default(),
            scope.clone(),
            since.rfc3339(),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
            looked_at.clone(),
        ];
        csv::line(&mut out, cells);
    }
    let next = match (is_last, found.last()) {
        (false, Some(last)) => Place::Card(place, Some(last.0)),
        _ => Place::Card(place + 1, None),
    };
    Ok((out, Some(next)))
}

/// When the findings were found.
fn looked_at(findings: &Findings, scanned: Option<Time>) -> String {
    findings.scanned_at(scanned).map(Time::rfc3339).unwrap_or_default()
}

fn kept(conn: &mut Conn, org: OrgId, scanned: Option<Time>, now: Time) -> Result<String> {
    let mut out = String::new();
    let looked_at = looked_at(&Findings::load(conn, org, now)?, scanned);
    for keeps in store::snoozes(conn, org, now, KEEPS)?.chunks(500) {
        let ids: Vec<KeyId> = keeps.iter().map(|keep| keep.key).collect();
        let people: Vec<UserId> = keeps.iter().map(|keep| keep.by).collect();
        let (keys, people) = (names::with_owners(conn, org, &ids)?, people::store::names(conn, &people)?);
        for keep in keeps {
            let named = keys.get(&keep.key);
            let cells = [
                keep.kind.clone(),
                "kept".to_owned(),
                keep.key.to_string(),
                named.map(|named| named.name.clone()).unwrap_or_default(),
                named.map(|named| named.owner.to_string()).unwrap_or_default(),
                named.map(|named| named.owner_email.clone()).unwrap_or_default(),
                keep.scope.clone(),
                String::new(),
                keep.by.to_string(),
                people.get(&keep.by).map(|(_, email)| email.clone()).unwrap_or_default(),
                keep.at.rfc3339(),
                keep.until.rfc3339(),
                looked_at.clone(),
            ];
            csv::line(&mut out, cells);
        }
    }
    Ok(out)
}
