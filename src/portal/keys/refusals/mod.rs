//! Why requests were refused: each check with its result then and now, and the remedy.

mod checks;

use actix_web::HttpResponse;
use askama::Template;

use crate::id::{KeyId, RequestId};
use crate::keys::Key;
use crate::orgs;
use crate::path;
use crate::portal::keys::RequestedKey;
use crate::portal::keys::refusals::checks::Check;
use crate::portal::kit::format::{self, When};
use crate::portal::kit::visit::Visit;
use crate::time::DAY;
use crate::usage::refusals::store::{self, REQUEST_DAYS};
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::{Code, Problem};

const DAYS: i64 = 7;
const MOST: usize = 100;

#[derive(Template)]
#[template(path = "portal/keys/refusals/key.html")]
struct KeyPage {
    layout: Layout,
    org: OrgLink,
    key: Key,
    /// The request id to look for, as typed.
    searched: String,
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
    /// The time of day, to the second.
    clock: String,
    /// Whether its checks are shown.
    is_shown: bool,
    code: String,
    route: String,
    address: String,
}

/// `GET /o/{org}/keys/{id}/refusals`.
pub async fn of_key(visit: Visit, requested: RequestedKey) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let searched = searched(&visit)?;
    let zone = visit.zone.clone();
    let found = visit.read(move |conn| {
        let key = requested.find(conn)?;
        let sums = store::by_code(conn, key.org, key.id, now.plus(-DAYS * DAY))?;
        let role = orgs::store::find_member(conn, key.org, &key.owner.id.to_string())?;
        let role = role.filter(|membership| membership.is_active()).map(|membership| membership.role);
        let recent = store::recent(conn, key.org, key.id)?;
        Ok((key, sums, recent, role))
    });
    let (key, sums, recent, role) = found.await?;
    let chosen = match searched.as_str() {
        "" => recent.first(),
        id => recent.iter().find(|kept| kept.request == id),
    };
    let limit = key.settings.requests_per_minute.get();
    let bucket = visit.site.limiter.look(key.id, limit, std::time::Instant::now()).await;
    let allowed = bucket.remaining > 0;
    let view = KeyPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        shown: chosen.map(|kept| Shown {
            request: kept.request.clone(),
            when: format::date_time(kept.at, &zone),
            route: kept.route.clone(),
            address: kept.address.clone(),
            code: kept.code.clone(),
            checks: checks::of(kept, &key, role, allowed, now),
        }),
        sums: sums
            .into_iter()
            .map(|(code, requests, last)| {
                (title(&code), remedy(&code), format::number(requests), When::past(last, now, &zone))
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
        zone: visit.zone_name(),
        searched,
        key,
    };
    visit.page(&view)
}

fn searched(visit: &Visit) -> Result<String, Problem> {
    let searched = visit.query().get("request").trim().to_owned();
    if searched.chars().count() > 100 || searched.chars().any(char::is_control) {
        return Err(Problem::bad_request("request: enter the id of a request: req_…"));
    }
    Ok(searched)
}

fn code(name: &str) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| code.name() == name)
}

fn title(name: &str) -> String {
    code(name).map_or_else(|| name.to_owned(), |code| code.title().to_owned())
}

/// The remedy, without back quotes.
fn remedy(name: &str) -> String {
    code(name).map_or("", Code::remedy).replace('`', "")
}

#[derive(Template)]
#[template(path = "portal/keys/refusals/list.html")]
struct OrgPage {
    layout: Layout,
    org: OrgLink,
    searched: String,
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

/// `GET /o/{org}/refusals`: keys with refused requests, and the search for a request id.
pub async fn of_org(visit: Visit) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let searched = searched(&visit)?;
    let (org, zone, manager) = (visit.org.id, visit.zone.clone(), visit.manager());
    let owner = if manager.role.sees_all_keys() { None } else { Some(manager.person) };
    let wanted = searched.clone();
    let found = visit.read(move |conn| {
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
        let link = path::key_refusals(&visit.org.slug, &key.id).query("request", searched);
        return Ok(visit.redirect(link));
    }
    let row = |(id, code, requests, last): store::OfKey| OrgRow {
        id,
        name: names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
        code: title(&code),
        requests: format::number(requests),
        last: When::past(last, now, &zone),
    };
    let view = OrgPage {
        layout: visit.layout(NavSection::Keys),
        org: visit.org_link(),
        rows: rows.into_iter().map(row).collect(),
        zone: visit.zone_name(),
        searched,
    };
    visit.page(&view)
}

/// The message for an unknown request id.
fn unknown(id: &str) -> String {
    if RequestId::parse(id).is_none() {
        return "This is not a request ID. You find it in the response header X-Request-Id: req_…."
            .to_owned();
    }
    format!(
        "Keydesk keeps the last 20 refused requests of each key for {REQUEST_DAYS} days. If the code was \
         invalid_token, the key itself was unknown: copied in part, or created on another server."
    )
}
