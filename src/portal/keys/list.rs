//! The list of keys: tabs, search, filters, order and pages, all in the URL.

use std::collections::HashMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::list::{self, Counts, Filter, Order, Page};
use crate::keys::{Key, Status, limit_request, secret_store, store};
use crate::path::{self, Href};
use crate::portal::keys::asked::{Asked, PAGE};
use crate::portal::kit::chart::Spark;
use crate::portal::kit::words::{self, Badge, When};
use crate::role::Act;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::usage;
use crate::web::Shared;
use crate::web::form::Fields;
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;

const SPARK_DAYS: usize = 7;
/// From how many days before its end a key's time is shown as a warning.
const SOON: i64 = 7;
/// How many keys the notice above the list counts at most.
const BANNER: i64 = 100;

#[derive(Template)]
#[template(path = "portal/keys/list.html", blocks = ["tabs", "rows"])]
struct ListPage {
    layout: Layout,
    org: Place,
    asked: Asked,
    tabs: Vec<Tab>,
    owners: Vec<(String, String)>,
    rows: Vec<Row>,
    /// Keys that pass the filter.
    matching: i64,
    /// Keys that end within a week, soonest first.
    ending: Vec<Row>,
    /// Keys of which an old secret still works.
    rotating: Vec<Row>,
    /// Requests for higher limits that wait, for whoever may answer them.
    waiting: i64,
    may_create: bool,
    zone: String,
    counted_to: String,
}

/// The page of an organisation, or a member, without any key.
#[derive(Template)]
#[template(path = "portal/keys/empty.html")]
struct EmptyPage {
    layout: Layout,
    org: Place,
    may_create: bool,
}

struct Tab {
    label: &'static str,
    status: &'static str,
    count: i64,
}

struct Row {
    id: KeyId,
    name: String,
    hint: String,
    badge: Badge,
    ended: bool,
    disabled: bool,
    rotating: bool,
    scopes: Vec<&'static str>,
    owner: String,
    last_used: Option<When>,
    requests: i64,
    spark: Spark,
    ends: Option<When>,
    ends_soon: bool,
    manageable: bool,
    /// Whether the reader is its backup.
    backed: bool,
    /// Whether the reader may enable it if it is disabled.
    enableable: bool,
}

/// `GET /o/{org}/keys`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let (asked, mut filter, order) = Asked::parse(&Fields::of_query(&request))?;
    let (org, manager, zone) = (member.org.id, member.manager(), member.person.time_zone());
    let decides = manager.role.may(Act::DecideRequests);
    let own = if manager.role.sees_all_keys() { None } else { Some(manager.person) };
    filter.mine = own;
    let page = Page { offset: (asked.page - 1) * PAGE, limit: PAGE, reversed: asked.reversed };
    let week = now.plus(-(SPARK_DAYS as i64 - 1) * DAY).start_of_day(&zone);
    let here = site.get_ref().clone();
    let found = site.db.read(move |conn| {
        let filter = list::looked_up(conn, org, filter)?;
        let keys = list::list(conn, org, &filter, order, page, now)?;
        let counts = here.numbers.counts(conn, org, own, now)?;
        let matching = here.numbers.matching(conn, org, &filter, now)?;
        let all = Filter { mine: own, ..Filter::default() };
        let soon = Filter { status: Some(Status::Active), ..all };
        let ending = list::list(
            conn,
            org,
            &soon,
            Order::Expires,
            Page { offset: 0, limit: BANNER, reversed: false },
            now,
        )?;
        let rotating = secret_store::rotating(conn, org, now, BANNER)?;
        let rotating = store::by_ids(conn, org, &rotating)?;
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        let daily = usage::recent::daily(conn, org, &ids, week, SPARK_DAYS)?;
        let owners = crate::orgs::store::members_of(conn, org)?;
        let waiting = if decides { limit_request::rows::count_open(conn, org, now)? } else { 0 };
        Ok::<_, Error>((keys, matching, counts, ending, rotating, daily, owners, waiting))
    });
    let (keys, matching, counts, ending, rotating, daily, owners, waiting) = found.await?;
    let place = Place::of(&member.org);
    let layout = Layout::of(&request, Room::Keys).with_flash(&request);
    let may_create = manager.role.may(Act::WriteKeys);
    if counts.total == 0 {
        return html(StatusCode::OK, &EmptyPage { layout, org: place, may_create });
    }
    let row =
        |key: &Key, daily: &HashMap<KeyId, Vec<i64>>| Row::new(key, daily.get(&key.id), &manager, now, &zone);
    let ends_in_week = |key: &&Key| key.expires_at.is_some_and(|end| end.since(now) <= SOON * DAY);
    let is_rotating = |key: &&Key| manager.sees(key) && key.rotation(now).is_some();
    let view = ListPage {
        org: place,
        tabs: tabs(&counts),
        owners: owners
            .into_iter()
            .filter(|_| own.is_none())
            .map(|member| (member.person.id.to_string(), member.person.name))
            .collect(),
        rows: keys.iter().map(|key| row(key, &daily)).collect(),
        matching,
        ending: ending.iter().filter(ends_in_week).map(|key| row(key, &daily)).collect(),
        rotating: rotating.iter().filter(is_rotating).map(|key| row(key, &daily)).collect(),
        waiting,
        may_create,
        zone: member.person.zone_name(),
        counted_to: words::clock(now, &zone),
        layout,
        asked,
    };
    if is_partial(&request) { view.fragments() } else { html(StatusCode::OK, &view) }
}

fn tabs(counts: &Counts) -> Vec<Tab> {
    let mut tabs = vec![Tab { label: "All", status: "", count: counts.total }];
    tabs.extend(counts.by_status.iter().map(|&(status, count)| Tab {
        label: Badge::of(status).label,
        status: status.name(),
        count,
    }));
    tabs
}

impl ListPage {
    /// The parts that change with a search: the rows in their place, the tabs and the spoken
    /// count beside them.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let rows = self.as_rows().render().map_err(Error::internal)?;
        let tabs = self.as_tabs().render().map_err(Error::internal)?;
        let found = words::count(self.matching, "key", "keys");
        let body = format!(
            "{rows}<hx-partial hx-target=\"#tabs\" hx-swap=\"outerHTML\">{tabs}</hx-partial>\
             <hx-partial hx-target=\"#live\" hx-swap=\"textContent\">{found} found</hx-partial>"
        );
        Ok(HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((actix_web::http::header::VARY, "HX-Request-Type"))
            .insert_header(("HX-Replace-Url", self.link(&[]).as_str()))
            .body(body))
    }

    /// This page with some parameters changed.
    fn link(&self, changes: &[(&str, &str)]) -> Href {
        path::keys(&self.org.slug).queries(self.asked.query(changes))
    }

    fn tab_link(&self, tab: &Tab) -> Href {
        self.link(&[("status", tab.status), ("page", "")])
    }

    fn page_link(&self, step: &i64) -> Href {
        self.link(&[("page", &(self.asked.page + step).to_string())])
    }

    fn has_next(&self) -> bool {
        self.asked.page * PAGE < self.matching
    }

    fn sorts_by(&self, column: &str) -> bool {
        self.asked.sort == column || (self.asked.sort.is_empty() && column == "expires")
    }

    fn sort_link(&self, column: &str) -> Href {
        let turned = self.sorts_by(column) && !self.asked.reversed;
        self.link(&[("sort", column), ("dir", if turned { "reversed" } else { "" }), ("page", "")])
    }

    /// Which way the values run, top to bottom.
    fn direction(&self, column: &str) -> &'static str {
        let falls = (column == "used") != self.asked.reversed;
        if falls { "descending" } else { "ascending" }
    }

    fn cleared_link(&self) -> Href {
        let cleared =
            Asked { sort: self.asked.sort.clone(), reversed: self.asked.reversed, ..Asked::default() };
        path::keys(&self.org.slug).queries(cleared.query(&[]))
    }

    fn count_line(&self) -> String {
        let first = (self.asked.page - 1) * PAGE + 1;
        let last = (first - 1 + i64::try_from(self.rows.len()).unwrap_or(0)).max(first);
        if self.matching <= PAGE {
            words::count(self.matching, "key", "keys")
        } else {
            format!(
                "{}–{} of {}",
                words::number(first),
                words::number(last),
                words::count(self.matching, "key", "keys")
            )
        }
    }

    fn ending_title(&self) -> String {
        let many = words::count(i64::try_from(self.ending.len()).unwrap_or(0), "key expires", "keys expire");
        format!("{many} in the next 7 days.")
    }

    fn waiting_title(&self) -> String {
        let many = words::count(self.waiting, "request", "requests");
        format!(
            "{many} for a higher limit {} an answer.",
            if self.waiting == 1 { "waits for" } else { "wait for" }
        )
    }

    fn rotating_title(&self) -> String {
        let many = i64::try_from(self.rotating.len()).unwrap_or(0);
        format!("{} rotating.", words::count(many, "key is", "keys are"))
    }

    fn ending_names(&self) -> String {
        let shown = self.ending.iter().take(3);
        let names: Vec<String> = shown
            .map(|row| format!("{} {}", row.name, row.ends.as_ref().map_or("", |ends| &ends.words)))
            .collect();
        let more = self.ending.len().saturating_sub(3);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{tail}.", names.join(", "))
    }
}

impl Row {
    fn new(
        key: &Key,
        daily: Option<&Vec<i64>>,
        manager: &crate::keys::manager::Manager,
        now: Time,
        zone: &jiff::tz::TimeZone,
    ) -> Row {
        let status = key.status(now);
        let days = daily.map(Vec::as_slice).unwrap_or(&[0; SPARK_DAYS]);
        let near = key.expires_at.is_some_and(|end| end > now && end.since(now) <= SOON * DAY);
        Row {
            id: key.id,
            name: key.name.clone(),
            hint: key.fingerprint.hint.clone(),
            badge: Badge::of(status),
            ended: status.is_ended(),
            disabled: status == Status::Disabled,
            rotating: key.rotation(now).is_some(),
            scopes: key.scopes.names(),
            owner: key.owner.name.clone(),
            last_used: key.last_used_at.map(|at| When::past(at, now, zone)),
            requests: days.iter().sum(),
            spark: Spark::new(days),
            ends: words::ending(key, now, zone),
            ends_soon: near && !status.is_ended(),
            manageable: manager.edits(key),
            backed: manager.backs_up(key),
            enableable: manager.role.manages_all_keys()
                || key.disabled.as_ref().is_some_and(|disabled| !disabled.by_admin),
        }
    }

    fn requests(&self) -> String {
        words::number(self.requests)
    }
}
