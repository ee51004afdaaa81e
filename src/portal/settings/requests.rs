//! Requests for higher limits: open ones, and the latest decisions.

use actix_web::HttpResponse;
use askama::Template;

use crate::keys::limit_request::{LimitRequest, State, rows};
use crate::path;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::portal::settings::Tabs;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

/// The number of decisions shown.
const ANSWERS: i64 = 20;

#[derive(Template)]
#[template(path = "portal/settings/requests.html")]
struct RequestsPage {
    layout: Layout,
    org: OrgLink,
    tabs: Tabs,
    open: Vec<Line>,
    answered: Vec<Line>,
    zone: String,
}

/// A request with its times in words.
struct Line {
    request: LimitRequest,
    asked: When,
    decided: Option<When>,
}

/// `GET /o/{org}/settings/requests`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let (org, role, now, zone) = (visit.org.id, visit.role, visit.now, visit.zone.clone());
    let found = visit.read(move |conn| {
        let open = rows::all_open(conn, org, now)?;
        let answered = rows::answered(conn, org, ANSWERS)?;
        Ok((open, answered, Tabs::count_requests(conn, org, role, now)?))
    });
    let (open, answered, requests) = found.await?;
    let line = |request: LimitRequest| Line {
        asked: When::past(request.asked_at, now, &zone),
        decided: request.decided.as_ref().map(|(at, _)| When::past(*at, now, &zone)),
        request,
    };
    let view = RequestsPage {
        layout: visit.layout(NavSection::Settings),
        org: visit.org_link(),
        tabs: Tabs::new(&visit, "requests", requests),
        open: open.into_iter().map(line).collect(),
        answered: answered.into_iter().map(line).collect(),
        zone: visit.zone_name(),
    };
    visit.page(&view)
}

impl Line {
    fn answer(&self) -> String {
        let who = self.request.decided.as_ref().map_or("", |(_, name)| name);
        match (self.request.state, self.request.granted) {
            (State::Approved, Some(limit)) => format!("{} approved by {who}", format::number(limit.into())),
            _ => format!("Declined by {who}"),
        }
    }

    fn limits(&self) -> String {
        let number = |limit: u32| format::number(limit.into());
        format!("{} → {}", number(self.request.limit_now), number(self.request.asked_limit))
    }
}
