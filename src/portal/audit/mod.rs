//! The audit trail: who did what, by day, with the proof that nothing was changed on top.

pub mod asked;
pub mod entry;
pub mod export;
mod kinds;
pub mod proof;
pub mod search;
pub mod told;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use jiff::tz::TimeZone;

use crate::audit::entry::Entry;
use crate::audit::list::{self, Filter, Part};
use crate::audit::store::{self, Head, Kept};
use crate::db::Conn;
use crate::error::Error;
use crate::id::OrgId;
use crate::path::{self, Href};
use crate::portal::audit::asked::{Asked, PAGE, RANGES};
use crate::portal::audit::kinds::{Kind, kinds};
use crate::portal::audit::told::{Names, Told};
use crate::portal::kit::words;
use crate::time::Time;
use crate::web::Shared;
use crate::web::form::{Complaints, Fields};
use crate::web::page::{Layout, Place, Room, html};
use crate::web::principal::Member;
use crate::web::problem::Problem;
use crate::web::session::is_partial;

#[derive(Template)]
#[template(path = "portal/audit/list.html", blocks = ["rows", "dates", "exports"])]
struct ListPage {
    layout: Layout,
    org: Place,
    asked: Asked,
    complaints: Complaints,
    proof: Proof,
    kinds: Vec<Kind>,
    /// What the list is narrowed to by a link: parameter, words.
    narrowed: Vec<(&'static str, String)>,
    days: Vec<Day>,
    /// Whether more keys or people are called so than were looked for.
    more: bool,
    /// How many entries are shown, and how many there are in all.
    shown: usize,
    total: u64,
    newer: Option<i64>,
    older: Option<i64>,
    zone: String,
}

/// What is known of the log's wholeness.
pub enum Proof {
    /// It was not looked at yet.
    Unchecked,
    /// As many entries as these are what was written.
    Unbroken {
        /// How many.
        checked: String,
        /// How many are newer than the last check.
        newer: Option<String>,
        /// When the last checkpoint was signed.
        signed: Option<String>,
    },
    /// This entry is not what was written.
    Broken {
        /// Its place as people count.
        number: String,
        /// What is wrong.
        why: String,
        /// When admins were notified of that.
        found: Option<String>,
    },
}

struct Day {
    title: String,
    rows: Vec<Told>,
}

/// What a list of entries is asked for, looked up.
pub struct Question {
    /// What the URL says.
    pub asked: Asked,
    /// The same for the database.
    pub filter: Filter,
    /// What is wrong with it.
    pub complaints: Complaints,
    /// Whether more keys or people are called so than were looked for.
    pub more: bool,
}

impl Question {
    /// Reads the query of a request.
    pub fn read(request: &HttpRequest, now: Time, zone: &TimeZone) -> Result<Question, Problem> {
        let (asked, filter, complaints) = Asked::parse(&Fields::of_query(request), now, zone)?;
        Ok(Question { asked, filter, complaints, more: false })
    }

    /// Looks up what is searched for: `most` keys and as many people. `false`: nothing can match.
    pub fn resolve(
        &mut self,
        conn: &mut Conn,
        org: OrgId,
        actions: &[String],
        most: usize,
    ) -> Result<bool, Error> {
        if !self.asked.q.is_empty() {
            let (search, more) = search::resolve(conn, org, &self.asked.q, most)?;
            (self.filter.search, self.more) = (Some(search), more);
        }
        if !self.asked.kind.is_empty() {
            let group = format!("{}.", self.asked.kind);
            let of_kind = |action: &&String| **action == self.asked.kind || action.starts_with(&group);
            self.filter.actions = actions.iter().filter(of_kind).cloned().collect();
            return Ok(!self.filter.actions.is_empty());
        }
        Ok(true)
    }
}

/// `GET /o/{org}/audit`.
pub async fn show(request: HttpRequest, member: Member, site: Shared) -> Result<HttpResponse, Problem> {
    let now = Time::now();
    let (org, zone) = (member.org.id, member.person.time_zone());
    let mut question = Question::read(&request, now, &zone)?;
    let found = site.db.read(move |conn| {
        let actions = list::actions(conn, org)?;
        let part = question.asked.part.unwrap_or(Part::Newest);
        let entries = if question.resolve(conn, org, &actions, search::MOST)? {
            list::list(conn, org, &question.filter, part, PAGE + 1)?
        } else {
            Vec::new()
        };
        let names = Names::of(conn, org, &entries)?;
        let narrowed = narrowed(conn, org, &question.asked)?;
        let (head, kept) = (store::head(conn, org)?, store::last_checkpoint(conn, org)?);
        Ok::<_, Error>((question, entries, names, narrowed, actions, head, kept))
    });
    let (question, mut entries, names, narrowed, actions, head, kept) = found.await?;
    let Question { asked, complaints, more: more_names, .. } = question;
    let most = usize::try_from(PAGE).unwrap_or_default();
    let more = entries.len() > most;
    let (newer, older) = match asked.part {
        Some(Part::After(_)) => {
            // The one too many is the newest.
            entries.drain(..entries.len().saturating_sub(most));
            (more, true)
        }
        Some(Part::Before(_)) => {
            entries.truncate(most);
            (true, more)
        }
        _ => {
            entries.truncate(most);
            (false, more)
        }
    };
    let view = ListPage {
        layout: Layout::of(&request, Room::Audit).with_flash(&request),
        org: Place::of(&member.org),
        proof: Proof::of(&head, kept.as_ref(), now, &zone),
        kinds: kinds(&actions),
        narrowed,
        newer: entries.first().map(|entry| entry.index).filter(|_| newer),
        older: entries.last().map(|entry| entry.index).filter(|_| older),
        shown: entries.len(),
        days: days(&entries, &names, now, &zone),
        total: head.entries,
        zone: member.person.zone_name(),
        more: more_names,
        asked,
        complaints,
    };
    let wrong = !view.complaints.is_empty();
    match is_partial(&request) {
        true => view.fragments(),
        false => html(if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &view),
    }
}

fn days(entries: &[Entry], names: &Names, now: Time, zone: &TimeZone) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for entry in entries {
        let (title, row) = (told::day(entry.said.at, now, zone), names.tell(entry, zone));
        match days.last_mut().filter(|day| day.title == title) {
            Some(day) => day.rows.push(row),
            None => days.push(Day { title, rows: vec![row] }),
        }
    }
    days
}

/// What links have narrowed the list to, in words.
fn narrowed(conn: &mut Conn, org: OrgId, asked: &Asked) -> Result<Vec<(&'static str, String)>, Error> {
    let mut narrowed = Vec::new();
    if !asked.actor.is_empty() {
        narrowed.push(("actor", format!("By {}", told::name(conn, org, &asked.actor)?)));
    }
    if !asked.target.is_empty() {
        narrowed.push(("target", format!("About {}", told::name(conn, org, &asked.target)?)));
    }
    Ok(narrowed)
}

impl Proof {
    /// Of a log, for a reader in that zone.
    pub fn of(head: &Head, kept: Option<&Kept>, now: Time, zone: &TimeZone) -> Proof {
        let at = |at: Time| {
            let today = at.start_of_day(zone) == now.start_of_day(zone);
            if today { words::clock(at, zone) } else { words::date_time(at, zone) }
        };
        let number = |place: u64| words::number(place.cast_signed());
        match (&head.broken, head.checked) {
            (Some((index, why)), _) => {
                Proof::Broken { number: number(index + 1), why: why.clone(), found: head.alarmed_at.map(at) }
            }
            (None, Some((checked, _))) if checked > 0 => {
                let newer = head.size.saturating_sub(checked).cast_signed();
                Proof::Unbroken {
                    checked: number(checked),
                    newer: (newer > 0).then(|| words::count(newer, "newer entry is", "newer entries are")),
                    signed: kept.map(|kept| at(kept.at)),
                }
            }
            _ => Proof::Unchecked,
        }
    }
}

impl ListPage {
    /// The parts that change with a search: the rows in their place, fields for dates, the links to
    /// exports, and the spoken count.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let rows = self.as_rows().render().map_err(Error::internal)?;
        let dates = self.as_dates().render().map_err(Error::internal)?;
        let exports = self.as_exports().render().map_err(Error::internal)?;
        let found = words::count(i64::try_from(self.shown).unwrap_or(0), "entry", "entries");
        let body = format!(
            "{rows}<hx-partial hx-target=\"#dates\" hx-swap=\"outerHTML\">{dates}</hx-partial>\
             <hx-partial hx-target=\"#exports\" hx-swap=\"outerHTML\">{exports}</hx-partial>\
             <hx-partial hx-target=\"#live\" hx-swap=\"textContent\">{found} shown</hx-partial>"
        );
        Ok(HttpResponse::Ok()
            .content_type("text/html; charset=utf-8")
            .insert_header((actix_web::http::header::VARY, "HX-Request-Type"))
            .insert_header(("HX-Replace-Url", self.link(&[]).as_str()))
            .body(body))
    }

    /// This page with some parameters changed.
    fn link(&self, changes: &[(&str, &str)]) -> Href {
        path::audit(&self.org.slug).queries(self.asked.query(changes))
    }

    /// The parameters of this page, for exports of the same entries.
    fn fields(&self) -> Vec<(String, String)> {
        self.asked.query(&[])
    }

    fn newer_link(&self, place: &i64) -> Href {
        self.link(&[("after", &place.to_string())])
    }

    fn older_link(&self, place: &i64) -> Href {
        self.link(&[("before", &place.to_string())])
    }

    fn link_without(&self, parameter: &str) -> Href {
        self.link(&[(parameter, "")])
    }

    /// What an export holds.
    fn these(&self) -> &'static str {
        if self.asked.is_filtered() { "Entries that match" } else { "All entries" }
    }

    fn count_line(&self) -> String {
        let total = words::count(self.total.cast_signed(), "entry", "entries");
        let shown = words::number(i64::try_from(self.shown).unwrap_or(0));
        let whole = self.newer.is_none() && self.older.is_none();
        match (self.asked.is_filtered(), whole) {
            (false, true) => total,
            (false, false) | (true, true) => format!("{shown} of {total}"),
            // How many match is not counted.
            (true, false) => format!("{shown} that match here, {total} in all"),
        }
    }
}
