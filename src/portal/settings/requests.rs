//! What members ask for: higher limits that wait for an answer, and the latest answers.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::keys::limit_request::{LimitRequest, State, rows};
use crate::path;
use crate::portal::kit::words::{self, When};
use crate::portal::settings::Tabs;
use crate::time::Time;
use crate::web::Shared;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

/// How many answers are shown.
const ANSWERS: i64 = 20;

#[derive(Template)]
#[template(path = "portal/settings/requests.html")]
struct RequestsPage {
    layout: Layout,
    org: Place,
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
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let (org, now, zone) = (member.org.id, Time::now(), member.person.time_zone());
    let found =
        site.db.read(move |conn| Ok((rows::all_open(conn, org, now)?, rows::answered(conn, org, ANSWERS)?)));
    let (open, answered) = found.await?;
    let line = |request: LimitRequest| Line {
        asked: When::past(request.asked_at, now, &zone),
        decided: request.decided.as_ref().map(|(at, _)| When::past(*at, now, &zone)),
        request,
    };
    let view = RequestsPage {
        layout: Layout::of(&request, Room::Settings).with_flash(&request),
        org: Place::of(&member.org),
        tabs: Tabs::load(&site, &member, "requests").await?,
        open: open.into_iter().map(line).collect(),
        answered: answered.into_iter().map(line).collect(),
        zone: member.person.zone_name(),
    };
    html(StatusCode::OK, &view)
}

impl Line {
    fn answer(&self) -> String {
        let who = self.request.decided.as_ref().map_or("", |(_, name)| name);
        match (self.request.state, self.request.granted) {
            (State::Approved, Some(limit)) => format!("{} a minute, by {who}", words::number(limit.into())),
            _ => format!("Refused by {who}"),
        }
    }

    fn limits(&self) -> String {
        let number = |limit: u32| words::number(limit.into());
        format!("{} → {}", number(self.request.limit_now), number(self.request.asked_limit))
    }
}
