//! The whole review on paper: each check with its rule and its findings, and what was decided,
//! by whom and when.

use actix_web::HttpResponse;
use askama::Template;

use crate::path;
use crate::portal::kit::visit::Visit;
use crate::portal::kit::words;
use crate::portal::review::row::{Decided, Reader, Row, Since};
use crate::portal::review::{Told, told};
use crate::review::rules::Card;
use crate::review::store::{self, Look};
use crate::web::page::{Layout, Place, Room};
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
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (now, org, zone) = (visit.now, visit.org.id, visit.zone.clone());
    let look = super::page::look_again(&visit.site, org).await?;
    let in_zone = zone.clone();
    let found = visit.read(move |conn| {
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
        layout: visit.layout(Room::Review),
        org: visit.place(),
        sections,
        kept,
        removed,
        look,
        looked_at: look.map_or_else(|| "not yet".to_owned(), |look| words::date_time(look.looked_at, &zone)),
        printed_at: words::date_time(now, &zone),
        printed_by: format!("{} ({})", visit.person.name, visit.person.email),
        zone: visit.zone_name(),
    };
    visit.page(&view)
}
