//! Cards that are filters, the findings of one of them, and what was decided lately.

use actix_web::HttpResponse;
use askama::Template;

use crate::path::{self, Href};
use crate::portal::kit::format;
use crate::portal::kit::list_query::ListQuery;
use crate::portal::kit::visit::Visit;
use crate::portal::review::row::{Decision, Reader, Row, Since};
use crate::portal::review::{KindText, kind_text};
use crate::review::findings::Findings;
use crate::review::rules::FindingKind;
use crate::review::store::Scan;
use crate::role::Act;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// How many findings a page shows.
const PAGE: i64 = 25;
/// How many decisions are shown below them.
const DECIDED: i64 = 25;

#[derive(Template)]
#[template(path = "portal/review/page.html")]
struct ReviewPage {
    layout: Layout,
    org: OrgLink,
    cards: Vec<ShownCard>,
    /// The checks without a finding, in one sentence.
    nothing: Option<String>,
    /// The chosen card, unless nothing was found at all.
    chosen: Option<(FindingKind, KindText)>,
    rows: Vec<Row>,
    found: i64,
    page: i64,
    kept: Vec<Decision>,
    removed: Vec<Decision>,
    scan: Option<Scan>,
    may_write: bool,
    zone: String,
    looked_at: String,
}

struct ShownCard {
    card: FindingKind,
    text: KindText,
    found: i64,
}

/// `GET /o/{org}/review`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (now, org, zone) = (visit.now, visit.org.id, visit.zone.clone());
    let query = visit.query();
    let query = ListQuery(&query);
    let (asked, page) = (query.choice("card", FindingKind::parse)?, query.page()?);
    let in_zone = zone.clone();
    let found = visit.read(move |conn| {
        let findings = Findings::load(conn, org, now)?;
        let counts = findings.counts(conn)?;
        let of = |card: FindingKind| counts.get(card.name()).copied().unwrap_or(0);
        let chosen = asked.or_else(|| FindingKind::ALL.into_iter().find(|card| of(*card) > 0));
        let reader = Reader { org, now, zone: &in_zone };
        let rows = match chosen {
            Some(card) => reader.rows(conn, &findings, card, ((page - 1) * PAGE, PAGE))?,
            None => Vec::new(),
        };
        let (kept, removed) = (reader.kept(conn, DECIDED)?, reader.removed(conn, DECIDED)?);
        Ok((counts, chosen, rows, kept, removed, findings))
    });
    let (counts, chosen, rows, kept, removed, findings) = found.await?;
    let scanned_at = findings.scanned_at(visit.site.scans.last(org));
    let of = |card: FindingKind| counts.get(card.name()).copied().unwrap_or(0);
    let shown = FindingKind::ALL.into_iter().filter(|card| of(*card) > 0 || chosen == Some(*card));
    let cards = shown.map(|card| ShownCard { card, text: kind_text(card), found: of(card) }).collect();
    let nothing: Vec<&str> = FindingKind::ALL
        .into_iter()
        .filter(|card| of(*card) == 0)
        .map(|card| kind_text(card).nothing)
        .collect();
    let view = ReviewPage {
        layout: visit.layout(NavSection::Review),
        org: visit.org_link(),
        cards,
        nothing: (!nothing.is_empty()).then(|| format!("No findings: {}.", nothing.join(", "))),
        found: chosen.map_or(0, of),
        chosen: chosen.map(|card| (card, kind_text(card))),
        rows,
        page,
        kept,
        removed,
        // Without keys there is no progress to show.
        scan: findings.scan.filter(|scan| scan.active_keys > 0),
        may_write: visit.role.may(Act::WriteReview),
        zone: visit.zone_name(),
        looked_at: scanned_at.map_or_else(|| "none yet".to_owned(), |at| format::clock(at, &zone)),
    };
    visit.page(&view)
}

impl ReviewPage {
    fn is_chosen(&self, card: &FindingKind) -> bool {
        self.chosen.as_ref().is_some_and(|(chosen, _)| chosen == card)
    }

    fn has_next(&self) -> bool {
        self.page * PAGE < self.found
    }

    fn count_line(&self) -> String {
        let all = format::count(self.found, "finding", "findings");
        let keep = if self.may_write { " “Snooze” hides a finding for 90 days." } else { "" };
        if self.found <= PAGE {
            return format!("{all}.{keep}");
        }
        let first = (self.page - 1) * PAGE + 1;
        let last = (self.page * PAGE).min(self.found).max(first);
        format!("{}–{} of {all}.{keep}", format::number(first), format::number(last))
    }

    /// The length of the progress bar, at most 192.
    fn done(&self, scan: &Scan) -> i64 {
        192 * self.in_order(scan) / scan.active_keys.max(1)
    }

    fn in_order(&self, scan: &Scan) -> i64 {
        (scan.active_keys - scan.open_keys).max(0)
    }

    /// The link that resolves a finding, with its label.
    fn remedy(&self, card: &FindingKind, row: &Row) -> Option<(&'static str, Href)> {
        let (org, key) = (&self.org.slug, &row.id);
        match card {
            FindingKind::CalledAfterEnd => Some(("Replace", path::new_key(org).query("from", key))),
            FindingKind::OwnerLeft => Some(("Change owner", path::key_owner(org, key))),
            FindingKind::EndsSoon => Some(("Rotate", path::key_rotate(org, key))),
            FindingKind::ManyErrors => Some(("View", path::key_usage(org, key).query("range", "7d"))),
            FindingKind::NewAddress => {
                Some(("View", path::key_usage(org, key).query("range", "7d").query("by", "address")))
            }
            FindingKind::NeverUsed | FindingKind::Idle90 | FindingKind::Idle30 => {
                Some(("Revoke", path::key_revoke(org, key)))
            }
            FindingKind::NoExpiry => Some(("Set an expiry", path::key_edit(org, key))),
            FindingKind::ScopeUnused => None,
        }
    }
}
