//! The list of keys: tabs, search, filters, order and pages, all in the address.

use std::collections::HashMap;

use actix_web::HttpResponse;
use askama::Template;

use crate::error::Error;
use crate::id::KeyId;
use crate::keys::list::{self, Counts, Filter, Order, Page};
use crate::keys::{Key, Status, limit_request, secret_store, store};
use crate::path::{self, Href};
use crate::portal::keys::params::{ListParams, PAGE};
use crate::portal::kit::chart::Spark;
use crate::portal::kit::format::{self, Badge, When};
use crate::portal::kit::fragments::Fragments;
use crate::portal::kit::visit::Visit;
use crate::role::Act;
use crate::scope::Scope;
use crate::time::{DAY, Time};
use crate::usage;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

const SPARK_DAYS: usize = 7;
/// How many days before its expiry a key shows a warning.
const SOON: i64 = 7;
/// The most keys that the notices above the list count.
const BANNER: i64 = 100;

#[derive(Template)]
#[template(path = "portal/keys/list.html", blocks = ["tabs", "rows"])]
struct ListPage {
    layout: Layout,
    org: OrgLink,
    params: ListParams,
    tabs: Vec<Tab>,
    owners: Vec<(String, String)>,
    rows: Vec<Row>,
    /// The number of keys that pass the filter.
    matching: i64,
    /// Keys that expire within a week, soonest first.
    ending: Vec<Row>,
    /// Keys with an open rotation.
    rotating: Vec<Row>,
    /// Open requests for higher limits, if the visitor may decide them.
    waiting: i64,
    may_create: bool,
    zone: String,
    counted_to: String,
}

/// The page without any key.
#[derive(Template)]
#[template(path = "portal/keys/empty.html")]
struct EmptyPage {
    layout: Layout,
    org: OrgLink,
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
    /// Whether the visitor is its backup.
    backed: bool,
    /// Whether the visitor may enable it if it is disabled.
    enableable: bool,
}

/// `GET /o/{org}/keys`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let (params, mut filter, order) = ListParams::parse(&visit.query())?;
    let (org, manager, zone) = (visit.org.id, visit.manager(), visit.zone.clone());
    let decides = manager.role.may(Act::DecideRequests);
    let own = if manager.role.sees_all_keys() { None } else { Some(manager.person) };
    filter.mine = own;
    let page = Page { offset: (params.page - 1) * PAGE, limit: PAGE, reversed: params.reversed };
    let week = now.plus(-(SPARK_DAYS as i64 - 1) * DAY).start_of_day(&zone);
    let here = visit.site.get_ref().clone();
    let found = visit.read(move |conn| {
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
    let org = visit.org_link();
    let layout = visit.layout(NavSection::Keys);
    let may_create = manager.role.may(Act::WriteKeys);
    if counts.total == 0 {
        return visit.page(&EmptyPage { layout, org, may_create });
    }
    let row =
        |key: &Key, daily: &HashMap<KeyId, Vec<i64>>| Row::new(key, daily.get(&key.id), &manager, now, &zone);
    let ends_in_week = |key: &&Key| key.expires_at.is_some_and(|end| end.since(now) <= SOON * DAY);
    let is_rotating = |key: &&Key| manager.sees(key) && key.rotation(now).is_some();
    let view = ListPage {
        org,
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
        zone: visit.zone_name(),
        counted_to: format::clock(now, &zone),
        layout,
        params,
    };
    if visit.is_partial() { view.fragments() } else { visit.page(&view) }
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
    /// The parts that change with a search: rows, tabs and the count.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let found = format!("{} found", format::count(self.matching, "key", "keys"));
        let fragments = Fragments::new(&self.as_rows())?.replacing("tabs", &self.as_tabs())?;
        Ok(fragments.with_text("live", &found).at(&self.link(&[])).respond())
    }

    /// This page with some parameters changed.
    fn link(&self, changes: &[(&str, &str)]) -> Href {
        path::keys(&self.org.slug).queries(self.params.query(changes))
    }

    fn tab_link(&self, tab: &Tab) -> Href {
        self.link(&[("status", tab.status), ("page", "")])
    }

    fn page_link(&self, step: &i64) -> Href {
        self.link(&[("page", &(self.params.page + step).to_string())])
    }

    fn has_next(&self) -> bool {
        self.params.page * PAGE < self.matching
    }

    fn sorts_by(&self, column: &str) -> bool {
        self.params.sort == column || (self.params.sort.is_empty() && column == "expires")
    }

    fn sort_link(&self, column: &str) -> Href {
        let turned = self.sorts_by(column) && !self.params.reversed;
        self.link(&[("sort", column), ("dir", if turned { "reversed" } else { "" }), ("page", "")])
    }

    /// The value of `aria-sort`.
    fn direction(&self, column: &str) -> &'static str {
        let falls = (column == "used") != self.params.reversed;
        if falls { "descending" } else { "ascending" }
    }

    fn cleared_link(&self) -> Href {
        let cleared = ListParams {
            sort: self.params.sort.clone(),
            reversed: self.params.reversed,
            ..ListParams::default()
        };
        path::keys(&self.org.slug).queries(cleared.query(&[]))
    }

    fn count_line(&self) -> String {
        let first = (self.params.page - 1) * PAGE + 1;
        let last = (first - 1 + i64::try_from(self.rows.len()).unwrap_or(0)).max(first);
        if self.matching <= PAGE {
            format::count(self.matching, "key", "keys")
        } else {
            format!(
                "{}–{} of {}",
                format::number(first),
                format::number(last),
                format::count(self.matching, "key", "keys")
            )
        }
    }

    fn ending_title(&self) -> String {
        let many = format::count(i64::try_from(self.ending.len()).unwrap_or(0), "key expires", "keys expire");
        format!("{many} in the next 7 days.")
    }

    fn waiting_title(&self) -> String {
        let many = format::count(self.waiting, "request", "requests");
        format!(
            "{many} for a higher limit {} a decision.",
            if self.waiting == 1 { "is waiting for" } else { "are waiting for" }
        )
    }

    fn rotating_title(&self) -> String {
        let many = i64::try_from(self.rotating.len()).unwrap_or(0);
        format!("{} rotating.", format::count(many, "key is", "keys are"))
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
        manager: &crate::keys::manager::KeyManager,
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
            ends: format::ending(key, now, zone),
            ends_soon: near && !status.is_ended(),
            manageable: manager.edits(key),
            backed: manager.backs_up(key),
            enableable: manager.role.manages_all_keys()
                || key.disabled.as_ref().is_some_and(|disabled| !disabled.by_admin),
        }
    }

    fn requests(&self) -> String {
        format::number(self.requests)
    }
}
