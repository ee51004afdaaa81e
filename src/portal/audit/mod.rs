//! The list of the audit log, by day, with the result of its verification.

pub mod entry;
pub mod entry_text;
pub mod export;
mod kinds;
pub mod params;
pub mod proof;
pub mod search;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use jiff::tz::TimeZone;

use crate::audit::entry::Entry;
use crate::audit::list::{self, Filter, Part};
use crate::audit::store::{self, Head, StoredCheckpoint};
use crate::db::Conn;
use crate::error::Error;
use crate::id::OrgId;
use crate::path::{self, Href};
use crate::portal::audit::entry_text::{EntryText, Names};
use crate::portal::audit::kinds::{Kind, kinds};
use crate::portal::audit::params::{ListParams, PAGE, RANGES};
use crate::portal::kit::format;
use crate::portal::kit::fragments::Fragments;
use crate::portal::kit::visit::Visit;
use crate::time::Time;
use crate::web::form::FormErrors;
use crate::web::page::{Layout, NavSection, OrgLink};
use crate::web::problem::Problem;

#[derive(Template)]
#[template(path = "portal/audit/list.html", blocks = ["rows", "dates", "exports"])]
struct ListPage {
    layout: Layout,
    org: OrgLink,
    params: ListParams,
    form_errors: FormErrors,
    proof: Proof,
    kinds: Vec<Kind>,
    /// The filters that links set: parameter, label.
    narrowed: Vec<(&'static str, String)>,
    days: Vec<Day>,
    /// Whether the search matched more keys or people than were found.
    more: bool,
    shown: usize,
    total: u64,
    newer: Option<i64>,
    older: Option<i64>,
    zone: String,
}

/// The result of the last verification of the log.
pub enum Proof {
    Unchecked,
    /// These entries were not changed.
    Unbroken {
        checked: String,
        /// Entries since the last verification.
        newer: Option<String>,
        /// The time of the last checkpoint.
        signed: Option<String>,
    },
    /// This entry was changed.
    Broken {
        /// Its number on pages, from 1.
        number: String,
        why: String,
        /// The time when admins were notified.
        found: Option<String>,
    },
}

struct Day {
    title: String,
    rows: Vec<EntryText>,
}

/// A query for entries.
pub struct EntryQuery {
    /// The parameters in the address.
    pub params: ListParams,
    /// The filter for the database.
    pub filter: Filter,
    /// Errors in the parameters.
    pub form_errors: FormErrors,
    /// Whether the search matched more keys or people than were found.
    pub more: bool,
}

impl EntryQuery {
    pub fn read(visit: &Visit) -> Result<EntryQuery, Problem> {
        let (params, filter, form_errors) = ListParams::parse(&visit.query(), visit.now, &visit.zone)?;
        Ok(EntryQuery { params, filter, form_errors, more: false })
    }

    /// Resolves the search: at most `most` keys and as many people. `false`: nothing can match.
    pub fn resolve(
        &mut self,
        conn: &mut Conn,
        org: OrgId,
        actions: &[String],
        most: usize,
    ) -> Result<bool, Error> {
        if !self.params.q.is_empty() {
            let (search, more) = search::resolve(conn, org, &self.params.q, most)?;
            (self.filter.search, self.more) = (Some(search), more);
        }
        if !self.params.kind.is_empty() {
            let group = format!("{}.", self.params.kind);
            let of_kind = |action: &&String| **action == self.params.kind || action.starts_with(&group);
            self.filter.actions = actions.iter().filter(of_kind).cloned().collect();
            return Ok(!self.filter.actions.is_empty());
        }
        Ok(true)
    }
}

/// `GET /o/{org}/audit`.
pub async fn show(visit: Visit) -> Result<HttpResponse, Problem> {
    let now = visit.now;
    let (org, zone) = (visit.org.id, visit.zone.clone());
    let mut query = EntryQuery::read(&visit)?;
    let found = visit.read(move |conn| {
        let actions = list::actions(conn, org)?;
        let part = query.params.part.unwrap_or(Part::Newest);
        let entries = if query.resolve(conn, org, &actions, search::MOST)? {
            list::list(conn, org, &query.filter, part, PAGE + 1)?
        } else {
            Vec::new()
        };
        let names = Names::of(conn, org, &entries)?;
        let narrowed = narrowed(conn, org, &query.params)?;
        let (head, kept) = (store::head(conn, org)?, store::last_checkpoint(conn, org)?);
        Ok::<_, Error>((query, entries, names, narrowed, actions, head, kept))
    });
    let (query, mut entries, names, narrowed, actions, head, kept) = found.await?;
    let EntryQuery { params, form_errors, more: more_names, .. } = query;
    let most = usize::try_from(PAGE).unwrap_or_default();
    let more = entries.len() > most;
    let (newer, older) = match params.part {
        Some(Part::After(_)) => {
            // The surplus entry is the newest.
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
        layout: visit.layout(NavSection::Audit),
        org: visit.org_link(),
        proof: Proof::of(&head, kept.as_ref(), now, &zone),
        kinds: kinds(&actions),
        narrowed,
        newer: entries.first().map(|entry| entry.index).filter(|_| newer),
        older: entries.last().map(|entry| entry.index).filter(|_| older),
        shown: entries.len(),
        days: days(&entries, &names, now, &zone),
        total: head.entries,
        zone: visit.zone_name(),
        more: more_names,
        params,
        form_errors,
    };
    let wrong = !view.form_errors.is_empty();
    match visit.is_partial() {
        true => view.fragments(),
        false => visit
            .page_with_status(if wrong { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK }, &view),
    }
}

fn days(entries: &[Entry], names: &Names, now: Time, zone: &TimeZone) -> Vec<Day> {
    let mut days: Vec<Day> = Vec::new();
    for entry in entries {
        let (title, row) = (entry_text::day(entry.body.at, now, zone), names.entry_text(entry, zone));
        match days.last_mut().filter(|day| day.title == title) {
            Some(day) => day.rows.push(row),
            None => days.push(Day { title, rows: vec![row] }),
        }
    }
    days
}

/// The filters that links set, with labels.
fn narrowed(conn: &mut Conn, org: OrgId, params: &ListParams) -> Result<Vec<(&'static str, String)>, Error> {
    let mut narrowed = Vec::new();
    if !params.actor.is_empty() {
        narrowed.push(("actor", format!("By {}", entry_text::name(conn, org, &params.actor)?)));
    }
    if !params.target.is_empty() {
        narrowed.push(("target", format!("About {}", entry_text::name(conn, org, &params.target)?)));
    }
    Ok(narrowed)
}

impl Proof {
    pub fn of(head: &Head, kept: Option<&StoredCheckpoint>, now: Time, zone: &TimeZone) -> Proof {
        let at = |at: Time| {
            let today = at.start_of_day(zone) == now.start_of_day(zone);
            if today { format::clock(at, zone) } else { format::date_time(at, zone) }
        };
        let number = |place: u64| format::number(place.cast_signed());
        match (&head.broken, head.checked) {
            (Some((index, why)), _) => {
                Proof::Broken { number: number(index + 1), why: why.clone(), found: head.alarmed_at.map(at) }
            }
            (None, Some((checked, _))) if checked > 0 => {
                let newer = head.size.saturating_sub(checked).cast_signed();
                Proof::Unbroken {
                    checked: number(checked),
                    newer: (newer > 0)
                        .then(|| format::count(newer, "newer entry will be", "newer entries will be")),
                    signed: kept.map(|kept| at(kept.at)),
                }
            }
            _ => Proof::Unchecked,
        }
    }
}

impl ListPage {
    /// The parts that change with a search: rows, fields for dates, links to exports, and the count.
    fn fragments(&self) -> Result<HttpResponse, Problem> {
        let shown = format::count(i64::try_from(self.shown).unwrap_or(0), "entry", "entries");
        let fragments = Fragments::new(&self.as_rows())?
            .replacing("dates", &self.as_dates())?
            .replacing("exports", &self.as_exports())?;
        Ok(fragments.with_text("live", &format!("{shown} shown")).at(&self.link(&[])).respond())
    }

    /// This page with some parameters changed.
    fn link(&self, changes: &[(&str, &str)]) -> Href {
        path::audit(&self.org.slug).queries(self.params.query(changes))
    }

    /// The parameters of this page, for exports of the same entries.
    fn fields(&self) -> Vec<(String, String)> {
        self.params.query(&[])
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

    /// What the exports contain.
    fn these(&self) -> &'static str {
        if self.params.is_filtered() { "Matching entries" } else { "All entries" }
    }

    fn count_line(&self) -> String {
        let total = format::count(self.total.cast_signed(), "entry", "entries");
        let shown = format::number(i64::try_from(self.shown).unwrap_or(0));
        let whole = self.newer.is_none() && self.older.is_none();
        match (self.params.is_filtered(), whole) {
            (false, true) => total,
            (false, false) | (true, true) => format!("{shown} of {total}"),
            // Matching entries are not counted.
            (true, false) => format!("{shown} matching on this page, {total} in total"),
        }
    }
}
