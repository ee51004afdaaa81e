//! Lists of entries, newest first, by filters that indexes answer.
//!
//! However many entries there are, each list reads a few: what can be searched for is resolved to
//! identifiers and addresses first, each of which an index gives in the order of the log, and what
//! comes of them is merged.

use diesel::prelude::*;

use crate::audit::entry::Entry;
use crate::db::Conn;
use crate::error::Result;
use crate::id::{OrgId, UserId};
use crate::schema::audit_entries;
use crate::time::{MINUTE, Time};

/// By how much the times of entries may lie apart from their order: entries get their place when
/// they are committed, their time when the request began, and clocks differ.
const DISORDER: i64 = 30 * MINUTE;
/// For how many actions each identifier of a search is asked for. A kind of more actions than these
/// is so common that reading an identifier's entries in their order finds some soon.
const SEEKS: usize = 4;

/// How many people whose membership was ended a search by name knows.
const MOST_REMOVED: i64 = 500;

/// Which entries a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those by this actor.
    pub actor: Option<String>,
    /// Only those about this target.
    pub target: Option<String>,
    /// Only these actions; none is all.
    pub actions: Vec<String>,
    /// Only those in which one of these takes part; `None` is all.
    pub search: Option<Search>,
    /// Only those of this instant or later.
    pub from: Option<Time>,
    /// Only those before this instant.
    pub to: Option<Time>,
}

/// What is searched for, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Identifiers of actors and targets.
    pub ids: Vec<String>,
    /// An address.
    pub address: Option<String>,
    /// An entry's own identifier.
    pub entry: Option<crate::id::EventId>,
    /// A request, and the instant within a second of which it began.
    pub request: Option<(String, Time)>,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The newest.
    Newest,
    /// Those older than the entry at this place.
    Before(i64),
    /// Those newer than it, the nearest of them.
    After(i64),
}

/// What an index is asked for.
#[derive(Clone, Copy)]
enum Driver<'a> {
    All,
    Actor(&'a str),
    Target(&'a str),
    Action(&'a str),
    /// By this actor, of this action.
    Deed(&'a str, &'a str),
    /// About this target, of this action.
    Fate(&'a str, &'a str),
    Address(&'a str),
    Entry(crate::id::EventId),
    Request(&'a str),
}

impl<'a> Driver<'a> {
    /// Which actor and which target it asks for, and whether it asks for an action.
    fn says(self) -> (Option<&'a str>, Option<&'a str>, bool) {
        match self {
            Driver::Actor(id) => (Some(id), None, false),
            Driver::Target(id) => (None, Some(id), false),
            Driver::Action(_) => (None, None, true),
            Driver::Deed(id, _) => (Some(id), None, true),
            Driver::Fate(id, _) => (None, Some(id), true),
            Driver::All | Driver::Address(_) | Driver::Entry(_) | Driver::Request(_) => (None, None, false),
        }
    }
}

/// The entries that pass the filter, newest first, at most `limit`.
pub fn list(conn: &mut Conn, org: OrgId, filter: &Filter, part: Part, limit: i64) -> Result<Vec<Entry>> {
    let mut bounds = bounds(conn, org, filter)?;
    match part {
        Part::Newest => {}
        Part::Before(place) => bounds.1 = bounds.1.min(place.saturating_sub(1)),
        Part::After(place) => bounds.0 = bounds.0.max(place.saturating_add(1)),
    }
    let oldest_first = matches!(part, Part::After(_));
    let mut rows: Vec<(i64, String)> = Vec::new();
    for driver in drivers(filter) {
        rows.extend(drive(conn, org, filter, driver, bounds, oldest_first, limit)?);
    }
    rows.sort_unstable_by_key(|(place, _)| if oldest_first { *place } else { -place });
    rows.dedup_by_key(|(place, _)| *place);
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    if oldest_first {
        rows.reverse();
    }
    Ok(rows.into_iter().map(|(index, text)| Entry::read(index, text)).collect())
}

/// What to ask indexes for, so that each question is answered in the order of the log.
fn drivers(filter: &Filter) -> Vec<Driver<'_>> {
    let actions = filter.actions.iter().map(String::as_str);
    if let Some(search) = &filter.search {
        let seeks = (1..=SEEKS).contains(&filter.actions.len());
        let of_id = |id| {
            if !seeks {
                return vec![Driver::Actor(id), Driver::Target(id)];
            }
            actions.clone().flat_map(|action| [Driver::Deed(id, action), Driver::Fate(id, action)]).collect()
        };
        let ids = search.ids.iter().map(String::as_str);
        return ids
            .flat_map(of_id)
            .chain(search.address.as_deref().map(Driver::Address))
            .chain(search.entry.map(Driver::Entry))
            .chain(search.request.as_ref().map(|(id, _)| Driver::Request(id)))
            .collect();
    }
    match (&filter.target, &filter.actor) {
        (Some(target), _) if filter.actions.is_empty() => vec![Driver::Target(target)],
        (Some(target), _) => actions.map(|action| Driver::Fate(target, action)).collect(),
        (None, Some(actor)) if filter.actions.is_empty() => vec![Driver::Actor(actor)],
        (None, Some(actor)) => actions.map(|action| Driver::Deed(actor, action)).collect(),
        (None, None) if filter.actions.is_empty() => vec![Driver::All],
        (None, None) => actions.map(Driver::Action).collect(),
    }
}

fn drive(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    driver: Driver<'_>,
    (first, last): (i64, i64),
    oldest_first: bool,
    limit: i64,
) -> Result<Vec<(i64, String)>> {
    let mut query = audit_entries::table
        .filter(audit_entries::org_id.eq(org))
        .filter(audit_entries::position.ge(first).and(audit_entries::position.le(last)))
        .select((audit_entries::position, audit_entries::entry))
        .limit(limit)
        .into_boxed();
    query = match driver {
        Driver::All => query,
        Driver::Actor(id) => query.filter(audit_entries::actor.eq(id)),
        Driver::Target(id) => query.filter(audit_entries::target.eq(id)),
        Driver::Action(action) => query.filter(audit_entries::action.eq(action)),
        Driver::Deed(actor, action) => {
            query.filter(audit_entries::actor.eq(actor).and(audit_entries::action.eq(action)))
        }
        Driver::Fate(target, action) => {
            query.filter(audit_entries::target.eq(target).and(audit_entries::action.eq(action)))
        }
        Driver::Address(address) => query.filter(audit_entries::address.eq(address)),
        Driver::Entry(id) => query.filter(audit_entries::id.eq(id)),
        Driver::Request(id) => query.filter(audit_entries::entry.like(format!("%\"request_id\":\"{id}\"%"))),
    };
    // What the driver says is not said twice: planners take it for another condition.
    let (by, about, of_action) = driver.says();
    if let Some(actor) = filter.actor.as_deref().filter(|actor| by != Some(actor)) {
        query = query.filter(audit_entries::actor.eq(actor));
    }
    if let Some(target) = filter.target.as_deref().filter(|target| about != Some(target)) {
        query = query.filter(audit_entries::target.eq(target));
    }
    if !filter.actions.is_empty() && !of_action {
        query = query.filter(audit_entries::action.eq_any(&filter.actions));
    }
    if let Some(from) = filter.from {
        query = query.filter(audit_entries::at.ge(from));
    }
    if let Some(to) = filter.to {
        query = query.filter(audit_entries::at.lt(to));
    }
    Ok(match oldest_first {
        true => query.order(audit_entries::position.asc()).load(conn)?,
        false => query.order(audit_entries::position.desc()).load(conn)?,
    })
}

/// The places between which the entries of a range of time lie.
fn bounds(conn: &mut Conn, org: OrgId, filter: &Filter) -> Result<(i64, i64)> {
    let request = filter.search.as_ref().and_then(|search| search.request.as_ref());
    let from = filter.from.or(request.map(|(_, at)| *at));
    let to = filter.to.or(request.map(|(_, at)| at.plus(1)));
    let own = audit_entries::table.filter(audit_entries::org_id.eq(org)).select(audit_entries::position);
    let first: Option<i64> = match from {
        None => Some(0),
        Some(from) => own
            .filter(audit_entries::at.ge(from.plus(-DISORDER)))
            .order(audit_entries::at.asc())
            .first(conn)
            .optional()?,
    };
    let last: Option<i64> = match to {
        None => Some(i64::MAX),
        Some(to) => own
            .filter(audit_entries::at.le(to.plus(DISORDER)))
            .order(audit_entries::at.desc())
            .first(conn)
            .optional()?,
    };
    // Nothing lies on one side of the range: an empty one.
    Ok((first.unwrap_or(i64::MAX), last.unwrap_or(-1)))
}

/// Whether anything is told of an actor or a target.
pub fn tells_of(conn: &mut Conn, org: OrgId, id: &str) -> Result<bool> {
    let search = Some(Search { ids: vec![id.to_owned()], ..Search::default() });
    Ok(!list(conn, org, &Filter { search, ..Filter::default() }, Part::Newest, 1)?.is_empty())
}

/// People whose membership was ended, the latest first: they are no members any more, but the log
/// tells of them.
pub fn removed_people(conn: &mut Conn, org: OrgId) -> Result<Vec<UserId>> {
    let targets: Vec<String> = audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::action.eq("member.removed")))
        .select(audit_entries::target)
        .order(audit_entries::position.desc())
        .limit(MOST_REMOVED)
        .load(conn)?;
    Ok(targets.iter().filter_map(|target| UserId::parse(target)).collect())
}

/// The actions that occur in a log.
pub fn actions(conn: &mut Conn, org: OrgId) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    loop {
        let last = found.last().map(String::as_str).unwrap_or_default();
        let next: Option<String> = audit_entries::table
            .filter(audit_entries::org_id.eq(org).and(audit_entries::action.gt(last)))
            .select(audit_entries::action)
            .order(audit_entries::action)
            .first(conn)
            .optional()?;
        match next {
            Some(action) => found.push(action),
            None => return Ok(found),
        }
    }
}
