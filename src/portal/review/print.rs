//! The whole review on paper: each check with its rule and its findings, and what was decided,
//! by whom and when.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::path;
use crate::portal::kit::words;
use crate::portal::review::row::{Decided, Reader, Row, Since};
use crate::portal::review::{Told, told};
use crate::review::rules::Card;
use crate::review::store::{self, Look};
use crate::time::Time;
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// How many findings of a check, and decisions, are printed.
const MOST: i64 = 500;

#[derive(Template)]
#[template(path = "portal/review/print.html")]
struct PrintPage {
    layout: Layout,
    org: Place,
    sections: Vec<Section>,
    kept: Vec<Decided>,
    removed: Vec<Decided>,
    look: Option<Look>,
    looked_at: String,
    printed_at: String,
    printed_by: String,
    zone: String,
}

struct Section {
    told: Told,
    found: i64,
    rows: Vec<Row>,
}

/// `GET /o/{org}/review/print`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let (now, org, zone) = (Time::now(), member.org.id, member.person.time_zone());
    let look = super::page::look_again(&site, org).await?;
    let in_zone = zone.clone();
    let found = site.db.read(move |conn| {
        let reader = Reader { org, now, zone: &in_zone };
        let counts = store::cards(conn, org)?;
        let mut sections = Vec::new();
        for card in Card::ALL {
            let found = counts.get(card.name()).copied().unwrap_or(0);
            let rows = if found > 0 { reader.rows(conn, card, (0, MOST))? } else { Vec::new() };
            sections.push(Section { told: told(card), found, rows });
        }
        Ok((sections, reader.kept(conn, MOST)?, reader.removed(conn, MOST)?))
    });
    let (sections, kept, removed) = found.await?;
    let view = PrintPage {
        layout: Layout::of(&request, Room::Review),
        org: Place::of(&member.org),
        sections,
        kept,
        removed,
        look,
        looked_at: look.map_or_else(|| "not yet".to_owned(), |look| words::date_time(look.looked_at, &zone)),
        printed_at: words::date_time(now, &zone),
        printed_by: format!("{} ({})", member.person.name, member.person.email),
        zone: member.person.zone_name(),
    };
    html(StatusCode::OK, &view)
}
