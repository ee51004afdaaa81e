//! All findings as CSV, open and kept, sent as they are read.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, UserId};
use crate::keys::names;
use crate::people;
use crate::review::rules::Card;
use crate::review::store;
use crate::time::Time;
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::{Shared, Site, csv};

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

/// How far an export has come.
#[derive(Clone, Copy)]
enum Progress {
    Begin,
    Card(usize, Option<KeyId>),
    Kept,
    End,
}

/// `GET /o/{org}/review.csv`.
pub async fn show(_: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let look = super::page::look_again(&site, member.org.id).await?;
    let looked_at = look.map(|look| look.looked_at.rfc3339()).unwrap_or_default();
    let name = format!("keydesk-review-{}-{}.csv", member.org.slug, &Time::now().rfc3339()[..10]);
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8; header=present")
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .streaming(lines(site.get_ref().clone(), member.org.id, looked_at)))
}

fn lines(
    site: Arc<Site>,
    org: OrgId,
    looked_at: String,
) -> impl futures_util::Stream<Item = Result<web::Bytes>> {
    stream::unfold(Progress::Begin, move |progress| {
        let (site, looked_at) = (site.clone(), looked_at.clone());
        async move {
            if let Progress::End = progress {
                return None;
            }
            let now = Time::now();
            match site.db.read(move |conn| part(conn, org, progress, &looked_at, now)).await {
                Ok((text, next)) => Some((Ok(text.into()), next)),
                Err(error) => {
                    tracing::warn!(%error, "an export was broken off");
                    Some((Err(error), Progress::End))
                }
            }
        }
    })
}

fn part(
    conn: &mut Conn,
    org: OrgId,
    progress: Progress,
    looked_at: &str,
    now: Time,
) -> Result<(String, Progress)> {
    let mut out = String::new();
    let (place, after) = match progress {
        Progress::Begin => {
            csv::line(&mut out, HEAD);
            return Ok((out, Progress::Card(0, None)));
        }
        Progress::Card(place, after) => (place, after),
        Progress::Kept => return Ok((kept(conn, org, looked_at, now)?, Progress::End)),
        Progress::End => return Ok((out, Progress::End)),
    };
    let Some(card) = Card::ALL.get(place).copied() else { return Ok((out, Progress::Kept)) };
    let mut found = store::of_card_after(conn, org, card, after, STEP)?;
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
            card.name().to_owned(),
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
            looked_at.to_owned(),
        ];
        csv::line(&mut out, cells);
    }
    let next = match (is_last, found.last()) {
        (false, Some(last)) => Progress::Card(place, Some(last.0)),
        _ => Progress::Card(place + 1, None),
    };
    Ok((out, next))
}

fn kept(conn: &mut Conn, org: OrgId, looked_at: &str, now: Time) -> Result<String> {
    let mut out = String::new();
    for keeps in store::keeps(conn, org, now, KEEPS)?.chunks(500) {
        let ids: Vec<KeyId> = keeps.iter().map(|keep| keep.key).collect();
        let people: Vec<UserId> = keeps.iter().map(|keep| keep.by).collect();
        let (keys, people) = (names::with_owners(conn, org, &ids)?, people::store::names(conn, &people)?);
        for keep in keeps {
            let named = keys.get(&keep.key);
            let cells = [
                keep.card.clone(),
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
                looked_at.to_owned(),
            ];
            csv::line(&mut out, cells);
        }
    }
    Ok(out)
}
