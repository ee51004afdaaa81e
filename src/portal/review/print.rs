//! The whole review on paper: each check with its rule and its findings, and what was decided,
//! by whom and when.

use actix_web::HttpResponse;
use askama::Template;

use crate::path;
use crate::portal::kit::format;
use crate::portal::kit::visit::Visit;
use crate::portal::review::row::{Decision, Reader, Row, Since};
use crate::portal::review::{KindText, kind_text};
use crate::review::findings::Findings;
use crate::review::rules::FindingKind;
use crate::review::store::Scan;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// How many findings of a check, and decisions, are printed.
const MOST: i64 = 500;

#[derive(Template)]
#[template(path = "portal/review/print.html")]
struct PrintPage {
    layout: Layout,
    org: OrgLink,
    sections: Vec<Section>,
    kept: Vec<Decision>,
    removed: Vec<Decision>,
    scan: Option<Scan>,
    looked_at: String,
    printed_at: String,
    printed_by: String,
    zone: String,
}

struct Section {
    text: KindText,
    found: i64,
    rows: Vec<Row>,
}

/// `GET /o/{org}/review/print`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (now, org, zone) = (visit.now, visit.org.id, visit.zone.clone());
    let in_zone = zone.clone();
    let found = visit.read(move |conn| {
        let reader = Reader { org, now, zone: &in_zone };
        let findings = Findings::load(conn, org, now)?;
        let counts = findings.counts(conn)?;
        let mut sections = Vec::new();
        for kind in FindingKind::ALL {
            let found = counts.get(kind.name()).copied().unwrap_or(0);
            let rows = if found > 0 { reader.rows(conn, &findings, kind, (0, MOST))? } else { Vec::new() };
            sections.push(Section { text: kind_text(kind), found, rows });
        }
        Ok((sections, reader.kept(conn, MOST)?, reader.removed(conn, MOST)?, findings))
    });
    let (sections, kept, removed, findings) = found.await?;
    let scanned_at = findings.scanned_at(visit.site.scans.last(org));
    let view = PrintPage {
        layout: visit.layout(NavSection::Review),
        org: visit.org_link(),
        sections,
        kept,
        removed,
        scan: findings.scan,
        looked_at: scanned_at.map_or_else(|| "none yet".to_owned(), |at| format::date_time(at, &zone)),
        printed_at: format::date_time(now, &zone),
        printed_by: format!("{} ({})", visit.person.name, visit.person.email),
        zone: visit.zone_name(),
    };
    visit.page(&view)
}
