//! Filtered lists of entries, newest first, served by indexes.
//!
//! Each list reads only a few entries, however many there are: a search is first resolved to identifiers
//! and addresses. For each of these, an index returns entries in log order, and the results are merged.

use diesel::prelude::*;

use crate::audit::entry::{Entry, EntryBody};
use crate::db::Conn;
use crate::error::{Error, Result};
use crate::id::{OrgId, UserId};
use crate::schema::audit_entries;
use crate::time::{MINUTE, Time};

/// How far, in seconds, the times of entries may deviate from their order: an entry gets its position at
/// the commit but its time when the request began, and clocks differ.
const DISORDER: i64 = 30 * MINUTE;
/// With at most this many actions, a search runs one query per identifier and action. A filter with more
/// actions matches so often that scanning the identifier's entries finds some soon.
const SEEKS: usize = 4;

/// How many former members a search by name covers.
const MOST_REMOVED: i64 = 500;

/// The filters of a list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub actor: Option<String>,
    pub target: Option<String>,
    /// Empty for all actions.
    pub actions: Vec<String>,
    /// Only entries that involve one of these.
    pub search: Option<Search>,
    /// Inclusive.
    pub from: Option<Time>,
    /// Exclusive.
    pub to: Option<Time>,
}

/// A resolved search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Identifiers of actors and targets.
    pub ids: Vec<String>,
    pub address: Option<String>,
    /// The identifier of an entry.
    pub entry: Option<crate::id::EventId>,
    /// A request id, and when the request began, to the second.
    pub request: Option<(String, Time)>,
}

/// The part of a list to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Newest,
    /// The entries just older than this position.
    Before(i64),
    /// The entries just newer than this position.
    After(i64),
}

/// A query that one index answers in log order.
#[derive(Clone, Copy)]
enum IndexQuery<'a> {
    All,
    Actor(&'a str),
    Target(&'a str),
    Action(&'a str),
    ActorAction(&'a str, &'a str),
    TargetAction(&'a str, &'a str),
    Address(&'a str),
    Entry(crate::id::EventId),
    Request(&'a str),
}

impl<'a> IndexQuery<'a> {
    /// The actor and the target that the query fixes, and whether it fixes the action.
    fn fixed(self) -> (Option<&'a str>, Option<&'a str>, bool) {
        match self {
            IndexQuery::Actor(id) => (Some(id), None, false),
            IndexQuery::Target(id) => (None, Some(id), false),
            IndexQuery::Action(_) => (None, None, true),
            IndexQuery::ActorAction(id, _) => (Some(id), None, true),
            IndexQuery::TargetAction(id, _) => (None, Some(id), true),
            IndexQuery::All | IndexQuery::Address(_) | IndexQuery::Entry(_) | IndexQuery::Request(_) => {
                (None, None, false)
            }
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
    for query_by in index_queries(filter) {
        rows.extend(run_query(conn, org, filter, query_by, bounds, oldest_first, limit)?);
    }
    rows.sort_unstable_by_key(|(place, _)| if oldest_first { *place } else { -place });
    rows.dedup_by_key(|(place, _)| *place);
    rows.truncate(usize::try_from(limit).unwrap_or_default());
    if oldest_first {
        rows.reverse();
    }
    Ok(rows.into_iter().map(|(index, text)| Entry::read(index, text)).collect())
}

/// The index queries that together cover the filter.
fn index_queries(filter: &Filter) -> Vec<IndexQuery<'_>> {
    let actions = filter.actions.iter().map(String::as_str);
    if let Some(search) = &filter.search {
        let seeks = (1..=SEEKS).contains(&filter.actions.len());
        let of_id = |id| {
            if !seeks {
                return vec![IndexQuery::Actor(id), IndexQuery::Target(id)];
            }
            actions
                .clone()
                .flat_map(|action| {
                    [IndexQuery::ActorAction(id, action), IndexQuery::TargetAction(id, action)]
                })
                .collect()
        };
        let ids = search.ids.iter().map(String::as_str);
        return ids
            .flat_map(of_id)
            .chain(search.address.as_deref().map(IndexQuery::Address))
            .chain(search.entry.map(IndexQuery::Entry))
            .chain(search.request.as_ref().map(|(id, _)| IndexQuery::Request(id)))
            .collect();
    }
    match (&filter.target, &filter.actor) {
        (Some(target), _) if filter.actions.is_empty() => vec![IndexQuery::Target(target)],
        (Some(target), _) => actions.map(|action| IndexQuery::TargetAction(target, action)).collect(),
        (None, Some(actor)) if filter.actions.is_empty() => vec![IndexQuery::Actor(actor)],
        (None, Some(actor)) => actions.map(|action| IndexQuery::ActorAction(actor, action)).collect(),
        (None, None) if filter.actions.is_empty() => vec![IndexQuery::All],
        (None, None) => actions.map(IndexQuery::Action).collect(),
    }
}

fn run_query(
    conn: &mut Conn,
    org: OrgId,
    filter: &Filter,
    query_by: IndexQuery<'_>,
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
    query = match query_by {
        IndexQuery::All => query,
        IndexQuery::Actor(id) => query.filter(audit_entries::actor.eq(id)),
        IndexQuery::Target(id) => query.filter(audit_entries::target.eq(id)),
        IndexQuery::Action(action) => query.filter(audit_entries::action.eq(action)),
        IndexQuery::ActorAction(actor, action) => {
            query.filter(audit_entries::actor.eq(actor).and(audit_entries::action.eq(action)))
        }
        IndexQuery::TargetAction(target, action) => {
            query.filter(audit_entries::target.eq(target).and(audit_entries::action.eq(action)))
        }
        IndexQuery::Address(address) => query.filter(audit_entries::address.eq(address)),
        IndexQuery::Entry(id) => query.filter(audit_entries::id.eq(id)),
        IndexQuery::Request(id) => {
            query.filter(audit_entries::entry.like(format!("%\"request_id\":\"{id}\"%")))
        }
    };
    // Don't repeat the query's own conditions: query planners would count them twice.
    let (by, about, of_action) = query_by.fixed();
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

/// The positions between which the entries of a time range lie.
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
    // If nothing lies on one side, the range is empty.
    Ok((first.unwrap_or(i64::MAX), last.unwrap_or(-1)))
}

/// Whether any entry mentions this actor or target.
pub fn mentions(conn: &mut Conn, org: OrgId, id: &str) -> Result<bool> {
    let search = Some(Search { ids: vec![id.to_owned()], ..Search::default() });
    Ok(!list(conn, org, &Filter { search, ..Filter::default() }, Part::Newest, 1)?.is_empty())
}

/// Former members, latest first: they are members no more, but the log mentions them.
pub fn removed_people(conn: &mut Conn, org: OrgId) -> Result<Vec<UserId>> {
    let targets: Vec<String> = audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::action.eq("member.removed")))
        .select(audit_entries::target)
        .order(audit_entries::position.desc())
        .limit(MOST_REMOVED)
        .load(conn)?;
    Ok(targets.iter().filter_map(|target| UserId::parse(target)).collect())
}

/// The latest entries about `target`, newest first.
pub fn latest_about(conn: &mut Conn, org: OrgId, target: &str, most: i64) -> Result<Vec<EntryBody>> {
    let texts: Vec<String> = audit_entries::table
        .filter(audit_entries::org_id.eq(org).and(audit_entries::target.eq(target)))
        .order(audit_entries::position.desc())
        .select(audit_entries::entry)
        .limit(most)
        .load(conn)?;
    texts.iter().map(|text| serde_json::from_str(text).map_err(Error::internal)).collect()
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
