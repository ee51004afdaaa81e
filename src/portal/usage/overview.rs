//! What an organisation's keys were used for: figures, chart, table; range, filters and order
//! all in the URL.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::keys::list::Filter;
use crate::keys::{Key, Status};
use crate::orgs;
use crate::path::{self, Href};
use crate::people;
use crate::portal::kit::chart::Chart;
use crate::portal::kit::words;
use crate::portal::usage::asked::{Asked, PAGE, RANGES, wrong};
use crate::portal::usage::table::{By, Reading, Table};
use crate::portal::usage::tiles::{Figures, Tile, span};
use crate::portal::usage::{Within, within_reach};
use crate::time::{DAY, Time};
use crate::usage::question::{self, Group, Question, Range};
use crate::usage::{self, report};
use crate::web::Shared;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/usage/show.html")]
struct UsagePage {
    layout: Layout,
    org: Place,
    asked: Asked,
    complaints: Complaints,
    /// The key that the page is about, if it is about one.
    key: Option<Key>,
    /// What the page covers, in words.
    title: String,
    tiles: Vec<Tile>,
    chart: Chart,
    /// What the table can be told apart by.
    segments: [By; 4],
    table: Table,
    /// Whose keys alone are shown.
    owner: Option<String>,
    /// Whether nothing was ever called, whatever the period.
    quiet: bool,
    may_create: bool,
    zone: String,
    counted_to: String,
    /// When the table was added up, if that was not just now.
    ranked_at: Option<String>,
}

/// `GET /o/{org}/usage`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    page(&request, &member, &site, None).await
}

/// The page of the organisation, or of one of its keys that the member may see.
pub(super) async fn page(
    request: &HttpRequest,
    member: &Member,
    site: &Shared,
    key: Option<Key>,
) -> Result<HttpResponse, Problem> {
    // Before the queries, so that what is told to be counted is.
    let counted_until = site.meter.counted_until();
    let now = Time::now();
    let (asked, mut question, complaints) = Asked::parse(&Fields::of_query(request), now)?;
    question.filter.key = key.as_ref().map(|key| key.id);
    within_reach(member, &mut question)?;
    let segments = if key.is_some() { By::OF_KEY } else { By::OF_ORG };
    let chosen = segments.into_iter().find(|by| by.name() == asked.by);
    let by = match chosen {
        Some(by) => by,
        None if asked.by.is_empty() => segments[0],
        None => return Err(wrong("by")),
    };
    let part = asked.part()?;
    let within = Within::of(member);
    let (zone, slug) = (member.person.time_zone(), member.org.slug.clone());
    let (mut question_here, asked_here) = (question.clone(), asked.clone());
    let (key_is_used, here) = (key.as_ref().map(|key| key.last_used_at.is_some()), site.get_ref().clone());
    // Pages of one key tell nothing apart by key.
    let ranking = match key {
        Some(_) => None,
        None => {
            let by_days = Question { range: question.range.in_days(now), ..question.clone() };
            site.rankings.of(&site.db, within.org, &by_days, now).await?
        }
    };
    let ranked_at = ranking.as_ref().map(|ranking| ranking.at).filter(|at| now.since(*at) > 0);
    let found = site.db.read_long(within.org, move |conn| {
        let counted_until = usage::counted_until(conn, &here.meter, counted_until, now)?;
        question_here.filter = report::looked_up(conn, within.org, question_here.filter)?;
        let figures = Figures::read(conn, within.org, &question_here, now)?;
        let reading = Reading {
            slug: &slug,
            org: within.org,
            question: &Question { range: question_here.range.in_days(now), ..question_here.clone() },
            asked: &asked_here,
            part,
            now,
            zone: &zone,
            ranking: ranking.as_deref(),
        };
        let table = reading.table(conn, by)?;
        let used = ranking.as_ref().map(|ranking| i64::try_from(ranking.keys.len()).unwrap_or(i64::MAX));
        let quiet = match key_is_used {
            _ if figures.total.requests > 0 || asked_here.is_filtered() => false,
            Some(is_used) => !is_used,
            None => !was_called(conn, within.org, &question_here, now)?,
        };
        let owner = question_here.filter.owner;
        let active = match used {
            Some(_) => {
                let active = Filter { status: Some(Status::Active), owner, ..Filter::default() };
                here.numbers.matching(conn, within.org, &active, now)?
            }
            None => 0,
        };
        let owner = match owner {
            Some(owner) if !within.own => Some(owner_name(conn, within.org, owner, &question_here.filter)?),
            _ => None,
        };
        Ok::<_, Error>((figures, table, used, active, owner, quiet, counted_until))
    });
    let (figures, table, used, active, owner, quiet, counted_until) = found.await?;
    let mut tiles = figures.tiles();
    if let Some(used) = used {
        tiles.push(Tile {
            label: "Keys in use",
            figure: words::number(used),
            rest: String::new(),
            note: words::count(active, "key is active", "keys are active"),
        });
    }
    let of = match (&key, within.own, &owner) {
        (Some(_), _, _) => "This key".to_owned(),
        (None, true, _) => "Your keys".to_owned(),
        (None, false, Some(owner)) => format!("Keys of {owner}"),
        (None, false, None) => format!("All keys of {}", member.org.name),
    };
    let status = if complaints.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let view = UsagePage {
        layout: Layout::of(request, Room::Usage).with_flash(request),
        org: Place::of(&member.org),
        title: format!("{of}, {} (UTC).", span(&question)),
        tiles,
        chart: figures.chart(&question),
        segments,
        table,
        owner,
        quiet,
        may_create: member.role.may(crate::role::Act::WriteKeys),
        zone: member.person.zone_name(),
        counted_to: words::clock(counted_until, &member.person.time_zone()),
        ranked_at: ranked_at.map(|at| words::clock(at, &member.person.time_zone())),
        key,
        asked,
        complaints,
    };
    html(status, &view)
}

/// Whether anything that passes the filter was ever called.
fn was_called(conn: &mut Conn, org: OrgId, question: &Question, now: Time) -> Result<bool> {
    let range = Range { from: Time::from_seconds(0), to: now, width: DAY };
    let ever = Question { range, group: Group::All, ..question.clone() };
    Ok(!report::report(conn, org, &ever)?.is_empty())
}

/// The name of a member, or of who left keys here. Errors: `NotFound` for anyone else.
fn owner_name(conn: &mut Conn, org: OrgId, owner: UserId, filter: &question::Filter) -> Result<String> {
    let owns_keys = filter.owned.as_ref().is_none_or(|owned| !owned.is_empty());
    let is_known = owns_keys || orgs::store::find_member(conn, org, &owner.to_string())?.is_some();
    let named = people::store::names(conn, &[owner])?.remove(&owner).filter(|_| is_known);
    named.map(|(name, _)| name).ok_or(Error::NotFound)
}

impl UsagePage {
    /// This page without a query.
    fn link(&self) -> Href {
        match &self.key {
            Some(key) => path::key_usage(&self.org.slug, &key.id),
            None => path::usage(&self.org.slug),
        }
    }

    /// What the form for dates keeps.
    fn kept(&self) -> Vec<(&'static str, &str)> {
        let Asked { by, owner, scope, model, .. } = &self.asked;
        let all = [("by", by), ("owner", owner), ("scope", scope), ("model", model)];
        all.into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .filter(|(_, value)| !value.is_empty())
            .collect()
    }

    fn export_link(&self) -> Href {
        let key = self.key.as_ref().map(|key| key.id.to_string()).unwrap_or_default();
        let query = self.asked.query(&[("key", &key), ("by", ""), ("sort", ""), ("dir", ""), ("page", "")]);
        path::usage_csv(&self.org.slug).queries(query)
    }

    /// This page.
    fn own_link(&self) -> Href {
        self.link().queries(self.asked.query(&[]))
    }

    fn range_link(&self, range: &str) -> Href {
        self.link().queries(self.asked.range_query(range))
    }

    fn by_link(&self, by: &By) -> Href {
        self.link().queries(self.asked.query(&[("by", by.name()), ("sort", ""), ("dir", ""), ("page", "")]))
    }

    fn without_link(&self, parameter: &str) -> Href {
        self.link().queries(self.asked.query(&[(parameter, ""), ("page", "")]))
    }

    /// The same period of all calls.
    fn unfiltered_link(&self) -> Href {
        self.link().queries(self.asked.query(&[("owner", ""), ("scope", ""), ("model", ""), ("page", "")]))
    }

    fn page_link(&self, step: &i64) -> Href {
        self.link().queries(self.asked.query(&[("page", &(self.asked.page + step).to_string())]))
    }

    fn has_next(&self) -> bool {
        self.asked.page * PAGE < self.table.number
    }

    fn has_pages(&self) -> bool {
        self.asked.page > 1 || self.has_next()
    }

    fn sorts_by(&self, column: &str) -> bool {
        self.asked.sort == column || (self.asked.sort.is_empty() && column == "requests")
    }

    fn sort_link(&self, column: &str) -> Href {
        let turned = self.sorts_by(column) && !self.asked.reversed;
        self.link().queries(self.asked.query(&[
            ("sort", column),
            ("dir", if turned { "reversed" } else { "" }),
            ("page", ""),
        ]))
    }

    /// The columns that the table can be sorted by, with the class that hides them on phones.
    fn columns(&self) -> [(&'static str, &'static str, &'static str); 4] {
        [
            ("requests", "Requests", ""),
            ("tokens", "Tokens", " from-phone"),
            ("failed", "Failed", ""),
            ("limited", "Limited", " from-phone"),
        ]
    }

    /// Whether the table shows what only some rows have.
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
        let all = words::count(self.table.number, one, many);
        if self.table.number <= PAGE {
            return all;
        }
        let first = (self.asked.page - 1) * PAGE + 1;
        let last = first - 1 + i64::try_from(self.table.rows.len()).unwrap_or(0);
        format!("{}–{} of {all}", words::number(first), words::number(last.max(first)))
    }
}
