//! The usage of an organisation's keys: figures, chart and table. Range, filters and order are in the
//! address.

use actix_web::HttpResponse;
use askama::Template;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::keys::list::Filter;
use crate::keys::{Key, Status};
use crate::orgs;
use crate::path::{self, Href};
use crate::people;
use crate::portal::keys::RequestedKey;
use crate::portal::kit::chart::Chart;
use crate::portal::kit::format;
use crate::portal::kit::list_query::invalid_parameter;
use crate::portal::kit::visit::Visit;
use crate::portal::usage::params::{PAGE, RANGES, UsageParams};
use crate::portal::usage::table::{By, Reading, Table};
use crate::portal::usage::tiles::{Figures, Tile, span};
use crate::portal::usage::{Coverage, within_reach};
use crate::time::{DAY, Time};
use crate::usage::question::{self, Group, Question, Range};
use crate::usage::{self, report};
use crate::web::form::FormErrors;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/usage/show.html")]
struct UsagePage {
    layout: Layout,
    org: OrgLink,
    params: UsageParams,
    form_errors: FormErrors,
    /// The key, on the page of one key.
    key: Option<Key>,
    /// The keys and the period that the page covers.
    title: String,
    tiles: Vec<Tile>,
    chart: Chart,
    /// The dimensions of the table.
    segments: [By; 4],
    table: Table,
    /// The name of the owner, if the page is limited to one.
    owner: Option<String>,
    /// Whether there has never been a request, in any period.
    quiet: bool,
    may_create: bool,
    zone: String,
    counted_to: String,
    /// The time of the table's totals, if they are not current.
    ranked_at: Option<String>,
}

/// `GET /o/{org}/usage`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    page(&visit, None).await
}

/// The page of the organisation, or of one of its keys that the member may see.
pub(super) async fn page(visit: &Visit, requested: Option<RequestedKey>) -> Result<HttpResponse, Problem> {
    // Before the queries: they include at least everything counted until then.
    let counted_until = visit.site.meter.counted_until();
    let now = visit.now;
    let (params, mut question, form_errors) = UsageParams::parse(&visit.query(), now)?;
    question.filter.key = requested.map(|requested| requested.id);
    within_reach(visit, &mut question)?;
    let segments = if requested.is_some() { By::OF_KEY } else { By::OF_ORG };
    let chosen = segments.into_iter().find(|by| by.name() == params.by);
    let by = match chosen {
        Some(by) => by,
        None if params.by.is_empty() => segments[0],
        None => return Err(invalid_parameter("by")),
    };
    let part = params.part()?;
    let coverage = Coverage::of(visit);
    let (zone, slug) = (visit.zone.clone(), visit.org.slug.clone());
    let (mut question_here, params_here) = (question.clone(), params.clone());
    let here = visit.site.get_ref().clone();
    // The page of one key has no ranking of keys.
    let ranking = match requested {
        Some(_) => None,
        None => {
            let by_days = Question { range: question.range.in_days(now), ..question.clone() };
            visit.site.rankings.of(&visit.site.db, coverage.org, &by_days, now).await?
        }
    };
    let ranked_at = ranking.as_ref().map(|ranking| ranking.at).filter(|at| now.since(*at) > 0);
    let found = visit.read_long(move |conn| {
        let key = requested.map(|requested| requested.find(conn)).transpose()?;
        let counted_until = usage::counted_until(conn, &here.meter, counted_until, now)?;
        question_here.filter = report::looked_up(conn, coverage.org, question_here.filter)?;
        let figures = Figures::read(conn, coverage.org, &question_here, now)?;
        let reading = Reading {
            slug: &slug,
            org: coverage.org,
            question: &Question { range: question_here.range.in_days(now), ..question_here.clone() },
            params: &params_here,
            part,
            now,
            zone: &zone,
            ranking: ranking.as_deref(),
        };
        let table = reading.table(conn, by)?;
        let used = ranking.as_ref().map(|ranking| i64::try_from(ranking.keys.len()).unwrap_or(i64::MAX));
        let quiet = match key.as_ref().map(|key| key.last_used_at.is_some()) {
            _ if figures.total.requests > 0 || params_here.is_filtered() => false,
            Some(is_used) => !is_used,
            None => !was_called(conn, coverage.org, &question_here, now)?,
        };
        let owner = question_here.filter.owner;
        let active = match used {
            Some(_) => {
                let active = Filter { status: Some(Status::Active), owner, ..Filter::default() };
                here.numbers.matching(conn, coverage.org, &active, now)?
            }
            None => 0,
        };
        let owner = match owner {
            Some(owner) if !coverage.own => {
                Some(owner_name(conn, coverage.org, owner, &question_here.filter)?)
            }
            _ => None,
        };
        Ok((key, figures, table, used, active, owner, quiet, counted_until))
    });
    let (key, figures, table, used, active, owner, quiet, counted_until) = found.await?;
    let mut tiles = figures.tiles();
    if let Some(used) = used {
        tiles.push(Tile {
            label: "Keys in use",
            figure: format::number(used),
            rest: String::new(),
            note: format::count(active, "key is active", "keys are active"),
        });
    }
    let of = match (&key, coverage.own, &owner) {
        (Some(_), _, _) => "This key".to_owned(),
        (None, true, _) => "Your keys".to_owned(),
        (None, false, Some(owner)) => format!("Keys of {owner}"),
        (None, false, None) => format!("All keys of {}", visit.org.name),
    };
    let view = UsagePage {
        layout: visit.layout(NavSection::Usage),
        org: visit.org_link(),
        title: format!("{of}, {} (UTC).", span(&question)),
        tiles,
        chart: figures.chart(&question),
        segments,
        table,
        owner,
        quiet,
        may_create: visit.role.may(crate::role::Act::WriteKeys),
        zone: visit.zone_name(),
        counted_to: format::clock(counted_until, &visit.zone),
        ranked_at: ranked_at.map(|at| format::clock(at, &visit.zone)),
        key,
        params,
        form_errors,
    };
    visit.form(&view.form_errors, &view)
}

/// Whether there was ever a request that passes the filter.
fn was_called(conn: &mut Conn, org: OrgId, question: &Question, now: Time) -> Result<bool> {
    let range = Range { from: Time::from_seconds(0), to: now, width: DAY };
    let ever = Question { range, group: Group::All, ..question.clone() };
    Ok(!report::report(conn, org, &ever)?.is_empty())
}

/// The name of a member or of a former owner of keys. Errors: `NotFound` for others.
fn owner_name(conn: &mut Conn, org: OrgId, owner: UserId, filter: &question::Filter) -> Result<String> {
    let owns_keys = filter.owned.as_ref().is_none_or(|owned| !owned.is_empty());
    let is_known = owns_keys || orgs::store::find_member(conn, org, &owner.to_string())?.is_some();
    let named = people::store::names(conn, &[owner])?.remove(&owner).filter(|_| is_known);
    named.map(|(name, _)| name).ok_or(Error::NotFound)
}

impl UsagePage {
    /// This page without parameters.
    fn link(&self) -> Href {
        match &self.key {
            Some(key) => path::key_usage(&self.org.slug, &key.id),
            None => path::usage(&self.org.slug),
        }
    }

    /// The parameters that the form for dates keeps.
    fn kept(&self) -> Vec<(&'static str, &str)> {
        let UsageParams { by, owner, scope, model, .. } = &self.params;
        let all = [("by", by), ("owner", owner), ("scope", scope), ("model", model)];
        all.into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn export_link(&self) -> Href {
        let key = self.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default();
        let query = self.params.query(&[("key", &key), ("by", ""), ("sort", ""), ("dir", ""), ("page", "")]);
        path::usage_csv(&self.org.slug).queries(query)
    }

    /// This page.
    fn own_link(&self) -> Href {
        self.link().queries(self.params.query(&[]))
    }

    fn range_link(&self, range: &str) -> Href {
        self.link().queries(self.params.range_query(range))
    }

    fn by_link(&self, by: &By) -> Href {
        self.link().queries(self.params.query(&[("by", by.name()), ("sort", ""), ("dir", ""), ("page", "")]))
    }

    fn without_link(&self, parameter: &str) -> Href {
        self.link().queries(self.params.query(&[(parameter, ""), ("page", "")]))
    }

    /// The same period without filters.
    fn unfiltered_link(&self) -> Href {
        self.link().queries(self.params.query(&[("owner", ""), ("scope", ""), ("model", ""), ("page", "")]))
    }

    fn page_link(&self, step: &i64) -> Href {
        self.link().queries(self.params.query(&[("page", &(self.params.page + step).to_string())]))
    }

    fn has_next(&self) -> bool {
        self.params.page * PAGE < self.table.number
    }

    fn has_pages(&self) -> bool {
        self.params.page > 1 || self.has_next()
    }

    fn sorts_by(&self, column: &str) -> bool {
        self.params.sort == column || (self.params.sort.is_empty() && column == "requests")
    }

    fn sort_link(&self, column: &str) -> Href {
        let turned = self.sorts_by(column) && !self.params.reversed;
        self.link().queries(self.params.query(&[
            ("sort", column),
            ("dir", if turned { "reversed" } else { "" }),
            ("page", ""),
        ]))
    }

    /// The sortable columns: value, label, CSS class that hides them on phones.
    fn columns(&self) -> [(&'static str, &'static str, &'static str); 4] {
        [
            ("requests", "Requests", ""),
            ("tokens", "Tokens", " from-phone"),
            ("failed", "Failed", ""),
            ("limited", "Limited", " from-phone"),
        ]
    }

    /// Whether the table has this optional column.
    fn shows(&self, what: &str) -> bool {
        let by = self.table.by;
        match what {
            "owner" | "spark" => by == By::Key,
            "outcomes" => by != By::Address,
            "used" => matches!(by, By::Key | By::Address | By::Secret),
            _ => false,
        }
    }

    fn count_line(&self) -> String {
        let (one, many) = match self.table.by {
            By::Key => ("key", "keys"),
            By::Model => ("model", "models"),
            By::Scope => ("scope", "scopes"),
            By::Person => ("person", "people"),
            By::Address => ("address", "addresses"),
            By::Secret => ("secret", "secrets"),
        };
        let all = format::count(self.table.number, one, many);
        if self.table.number <= PAGE {
            return all;
        }
        let first = (self.params.page - 1) * PAGE + 1;
        let last = first - 1 + i64::try_from(self.table.rows.len()).unwrap_or(0);
        format!("{}–{} of {all}", format::number(first), format::number(last.max(first)))
    }
}
