//! Cards that are filters, the findings of one of them, and what was decided lately.

use actix_web::HttpResponse;
use askama::Template;

use crate::error::Error;
use crate::path::{self, Href};
use crate::portal::kit::list_query::ListQuery;
use crate::portal::kit::visit::Visit;
use crate::portal::kit::words;
use crate::portal::review::row::{Decided, Reader, Row, Since};
use crate::portal::review::{Told, told};
use crate::review::look;
use crate::review::rules::Card;
use crate::review::store::{self, Look};
use crate::role::Act;
use crate::time::Time;
use crate::web::Site;
use crate::web::page::{Layout, Place, Room};
use crate::web::problem::Problem;

/// How many findings a page shows.
const PAGE: i64 = 25;
/// How many decisions are shown below them.
const DECIDED: i64 = 25;
/// Up to how many keys an organisation is looked at when its page is.
const SMALL: i64 = 2_000;

#[derive(Template)]
#[template(path = "portal/review/page.html")]
struct ReviewPage {
    layout: Layout,
    org: Place,
    cards: Vec<ShownCard>,
    /// The checks without a finding, in one sentence.
    nothing: Option<String>,
    /// The chosen card, unless nothing was found at all.
    chosen: Option<(Card, Told)>,
    rows: Vec<Row>,
    found: i64,
    page: i64,
    kept: Vec<Decided>,
    removed: Vec<Decided>,
    look: Option<Look>,
    may_write: bool,
    zone: String,
    looked_at: String,
}

struct ShownCard {
    card: Card,
    told: Told,
    found: i64,
}

/// Looks again, if that is quick.
pub(super) async fn look_again(site: &Site, org: crate::id::OrgId) -> Result<Option<Look>, Error> {
    let last = site.db.read(move |conn| store::last_look(conn, org)).await?;
    if last.is_none_or(|look| look.live_keys <= SMALL) {
        look::look(&site.db, org, Time::now, || true).await?;
        return site.db.read(move |conn| store::last_look(conn, org)).await;
    }
    Ok(last)
}

/// `GET /o/{org}/review`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (now, org, zone) = (visit.now, visit.org.id, visit.zone.clone());
    let query = visit.query();
    let query = ListQuery(&query);
    let (asked, page) = (query.choice("card", Card::parse)?, query.page()?);
    let look = look_again(&visit.site, org).await?;
    let in_zone = zone.clone();
    let found = visit.read(move |conn| {
        let counts = store::cards(conn, org)?;
        let of = |card: Card| counts.get(card.name()).copied().unwrap_or(0);
        let chosen = asked.or_else(|| Card::ALL.into_iter().find(|card| of(*card) > 0));
        let reader = Reader { org, now, zone: &in_zone };
        let rows = match chosen {
            Some(card) => reader.rows(conn, card, ((page - 1) * PAGE, PAGE))?,
            None => Vec::new(),
        };
        let (kept, removed) = (reader.kept(conn, DECIDED)?, reader.removed(conn, DECIDED)?);
        Ok((counts, chosen, rows, kept, removed))
    });
    let (counts, chosen, rows, kept, removed) = found.await?;
    let of = |card: Card| counts.get(card.name()).copied().unwrap_or(0);
    let shown = Card::ALL.into_iter().filter(|card| of(*card) > 0 || chosen == Some(*card));
    let cards = shown.map(|card| ShownCard { card, told: told(card), found: of(card) }).collect();
    let nothing: Vec<&str> =
        Card::ALL.into_iter().filter(|card| of(*card) == 0).map(|card| told(card).nothing).collect();
    let view = ReviewPage {
        layout: visit.layout(Room::Review),
        org: visit.place(),
        cards,
        nothing: (!nothing.is_empty()).then(|| format!("Nothing to settle: {}.", nothing.join(", "))),
        found: chosen.map_or(0, of),
        chosen: chosen.map(|card| (card, told(card))),
        rows,
        page,
        kept,
        removed,
        // Of no keys, none says how far the review has come.
        look: look.filter(|look| look.live_keys > 0),
        may_write: visit.role.may(Act::WriteReview),
        zone: visit.zone_name(),
        looked_at: look.map_or_else(|| "not yet".to_owned(), |look| words::clock(look.looked_at, &zone)),
    };
    visit.page(&view)
}

impl ReviewPage {
    fn is_chosen(&self, card: &Card) -> bool {
        self.chosen.as_ref().is_some_and(|(chosen, _)| chosen == card)
    }

    fn has_next(&self) -> bool {
        self.page * PAGE < self.found
    }

    fn count_line(&self) -> String {
        let all = words::count(self.found, "finding", "findings");
        let keep = if self.may_write { " “Keep” hides one here for 90 days." } else { "" };
        if self.found <= PAGE {
            return format!("{all}.{keep}");
        }
        let first = (self.page - 1) * PAGE + 1;
        let last = (self.page * PAGE).min(self.found).max(first);
        format!("{}–{} of {all}.{keep}", words::number(first), words::number(last))
    }

    /// How much of the progress bar, of 192, is done.
    fn done(&self, look: &Look) -> i64 {
        192 * self.in_order(look) / look.live_keys.max(1)
    }

    fn in_order(&self, look: &Look) -> i64 {
        (look.live_keys - look.open_keys).max(0)
    }

    /// The link that resolves a finding, with its label.
    fn remedy(&self, card: &Card, row: &Row) -> Option<(&'static str, Href)> {
        let (org, key) = (&self.org.slug, &row.id);
        match card {
            Card::CalledAfterEnd => Some(("Replace", path::new_key(org).query("from", key))),
            Card::OwnerLeft => Some(("Change owner", path::key_owner(org, key))),
            Card::EndsSoon => Some(("Rotate", path::key_rotate(org, key))),
            Card::ManyErrors => Some(("Look", path::key_usage(org, key).query("range", "7d"))),
            Card::NewAddress => {
                Some(("Look", path::key_usage(org, key).query("range", "7d").query("by", "address")))
            }
            Card::NeverUsed | Card::Idle90 | Card::Idle30 => Some(("Revoke", path::key_revoke(org, key))),
            Card::NoExpiry => Some(("Set an end", path::key_edit(org, key))),
            Card::ScopeUnused => None,
        }
    }
}
