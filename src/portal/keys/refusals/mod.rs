//! Why calls were refused: each check of the gate with its result then and now, and what to do.

mod checks;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::id::{KeyId, RequestId};
use crate::keys::Key;
use crate::orgs;
use crate::path;
use crate::portal::keys::refusals::checks::Check;
use crate::portal::kit::words::{self, When};
use crate::time::{DAY, Time};
use crate::usage::refusals::store::{self, REQUEST_DAYS};
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::page::{Layout, Place, Room, html, redirect};
use crate::web::principal::Member;
use crate::web::problem::{Code, Problem};

const DAYS: i64 = 7;
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "portal/keys/refusals/key.html")]
struct KeyPage {
    layout: Layout,
    org: Place,
    key: Key,
    /// What was asked for, as typed.
    asked: String,
    shown: Option<Shown>,
    sums: Vec<(String, String, String, When)>,
    recent: Vec<Row>,
    zone: String,
}

/// One refused request with its checks.
struct Shown {
    request: String,
    when: String,
    route: String,
    address: String,
    code: String,
    checks: Vec<Check>,
}

struct Row {
    request: String,
    when: When,
    /// The time of day, to the second: programs call often.
    clock: String,
    /// Whether it is the one whose checks are shown.
    is_shown: bool,
    code: String,
    route: String,
    address: String,
}

/// `GET /o/{org}/keys/{id}/refusals`.
pub async fn of_key(
    request: HttpRequest,
    member: Member,
    site: Shared,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let key = super::find(&site, &member, &path.1).await?;
    let asked = asked(&request)?;
    let (org, id, owner, zone) = (member.org.id, key.id, key.owner.id, member.person.time_zone());
    let found = site.db.read(move |conn| {
        let sums = store::by_code(conn, org, id, now.plus(-DAYS * DAY))?;
        let role = orgs::store::find_member(conn, org, &owner.to_string())?;
        let role = role.filter(|membership| membership.is_active()).map(|membership| membership.role);
        Ok((sums, store::recent(conn, org, id)?, role))
    });
    let (sums, recent, role) = found.await?;
    let chosen = match asked.as_str() {
        "" => recent.first(),
        asked => recent.iter().find(|kept| kept.request == asked),
    };
    let bucket = site.limiter.look(key.id, key.requests_per_minute, std::time::Instant::now()).await;
    let allowed = bucket.remaining > 0;
    let view = KeyPage {
        layout: Layout::of(&request, Room::Keys),
        org: Place::of(&member.org),
        shown: chosen.map(|kept| Shown {
            request: kept.request.clone(),
            when: words::date_time(kept.at, &zone),
            route: kept.route.clone(),
            address: kept.address.clone(),
            code: kept.code.clone(),
            checks: checks::of(kept, &key, role, allowed, now),
        }),
        sums: sums
            .into_iter()
            .map(|(code, requests, last)| {
                (title(&code), remedy(&code), words::number(requests), When::past(last, now, &zone))
            })
            .collect(),
        recent: recent
            .iter()
            .map(|kept| Row {
                request: kept.request.clone(),
                when: When::past(kept.at, now, &zone),
                clock: kept.at.in_zone(&zone).strftime("%H:%M:%S").to_string(),
                is_shown: chosen.is_some_and(|chosen| chosen.request == kept.request),
                code: title(&kept.code),
                route: kept.route.clone(),
                address: kept.address.clone(),
            })
            .collect(),
        zone: member.person.zone_name(),
        asked,
        key,
    };
    html(StatusCode::OK, &view)
}

fn asked(request: &HttpRequest) -> Result<String, Problem> {
    let asked = Fields::of_query(request).get("request").trim().to_owned();
    if asked.chars().count() > 100 || asked.chars().any(char::is_control) {
        return Err(Problem::bad_request("request: write the id of a request: req_…"));
    }
    Ok(asked)
}

fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.name() == name)
}

fn title(name: &str) -> String {
    code(name).map_or_else(|| name.to_owned(), |code| code.title().to_owned())
}

/// What to do, without the marks of code that only the API's document reads.
fn remedy(name: &str) -> String {
    code(name).map_or("", Code::remedy).replace('`', "")
}

#[derive(Template)]
#[template(path = "portal/keys/refusals/list.html")]
struct OrgPage {
    layout: Layout,
    org: Place,
    asked: String,
    rows: Vec<OrgRow>,
    zone: String,
}

struct OrgRow {
    id: KeyId,
    name: String,
    code: String,
    requests: String,
    last: When,
}

/// `GET /o/{org}/refusals`: which keys were refused, and the way from a request's id to its reasons.
pub async fn of_org(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let asked = asked(&request)?;
    let (org, zone, manager) = (member.org.id, member.person.time_zone(), member.manager());
    let owner = if manager.role.sees_all_keys() { None } else { Some(manager.person) };
    let wanted = asked.clone();
    let found = site.db.read(move |conn| {
        let kept = if wanted.is_empty() { None } else { store::find(conn, org, &wanted)? };
        let key = match &kept {
            Some(kept) => crate::keys::store::find(conn, org, kept.key)?,
            None => None,
        };
        let rows = store::by_key(conn, org, owner, now.plus(-DAYS * DAY), MOST)?;
        let ids: Vec<KeyId> = rows.iter().map(|(id, ..)| *id).collect();
        Ok((key, rows, crate::keys::names::of(conn, org, &ids)?))
    });
    let (key, rows, names) = found.await?;
    if let Some(key) = key.filter(|key| manager.sees(key)) {
        let link = path::key_refusals(&member.org.slug, &key.id).query("request", asked);
        return Ok(redirect(&request, &link));
    }
    let row = |(id, code, requests, last): store::OfKey| OrgRow {
        id,
        name: names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
        code: title(&code),
        requests: words::number(requests),
        last: When::past(last, now, &zone),
    };
    let view = OrgPage {
        layout: Layout::of(&request, Room::Keys),
        org: Place::of(&member.org),
        rows: rows.into_iter().map(row).collect(),
        zone: member.person.zone_name(),
        asked,
    };
    html(StatusCode::OK, &view)
}

/// What is to be said of a request of which nothing is kept.
fn unknown(asked: &str) -> String {
    if RequestId::parse(asked).is_none() {
        return "This is no request id. It stands in the answer’s header X-Request-Id: req_….".to_owned();
    }
    format!(
        "No refusal is kept under it. The last 20 of each key are, for {REQUEST_DAYS} days. If the answer was \
         invalid_token, the key itself was unknown: copied in part, or made for another server."
    )
}
