//! The open findings of an organisation, as pages and exports show them.
//!
//! Those of a small organisation are computed from its keys at the moment of the request; those of a large
//! one are read as the last scan stored them. Either way, reading changes nothing.

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId};
use crate::review::facts::{self, Which};
use crate::review::rules::{self, Facts, FindingKind};
use crate::review::store::{self, Place, Scan};
use crate::schema::api_keys;
use crate::time::Time;

/// The most keys, ended ones included, of a small organisation.
const SMALL: i64 = 1_000;

/// Findings with the instants that say most about them.
pub type Places = HashMap<Place, Time>;

/// A finding of a known kind: its key, its scope or an empty text, and its instant.
pub type Found = (KeyId, String, Time);

/// The open findings of an organisation.
pub struct Findings {
    org: OrgId,
    /// Those of a small organisation.
    now: Option<Vec<(&'static str, Found)>>,
    /// When they were found, and how many keys have some; `None` before the first scan of a large organisation.
    pub scan: Option<Scan>,
}

/// The findings about these keys that no one has snoozed.
pub fn open(conn: &mut Conn, org: OrgId, facts: &[Facts], now: Time) -> Result<Places> {
    let keys: Vec<KeyId> = facts.iter().map(|facts| facts.key).collect();
    let snoozed = store::snoozed(conn, org, &keys, now)?;
    let mut found = HashMap::new();
    for facts in facts {
        for finding in rules::findings(facts, now) {
            let place = store::place(facts.key, &finding);
            // Snoozing one new address does not hide the next.
            let hides = |at: &Time| finding.kind != FindingKind::NewAddress || finding.since <= *at;
            if !snoozed.get(&place).is_some_and(hides) {
                found.insert(place, finding.since);
            }
        }
    }
    Ok(found)
}

impl Findings {
    /// Reads the findings of an organisation.
    pub fn load(conn: &mut Conn, org: OrgId, now: Time) -> Result<Findings> {
        let keys = api_keys::table.filter(api_keys::org_id.eq(org)).order(api_keys::id);
        let more: Option<Vec<u8>> = keys.select(api_keys::id).offset(SMALL).first(conn).optional()?;
        if more.is_some() {
            return Ok(Findings { org, now: None, scan: store::last_scan(conn, org)? });
        }
        let facts = facts::read(conn, org, Which::After(None, SMALL), now)?;
        let places = open(conn, org, &facts, now)?;
        let keys: HashSet<KeyId> = places.keys().map(|(key, _, _)| *key).collect();
        let active = || facts.iter().filter(|facts| facts.is_active(now));
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let scan = Scan {
            at: now,
            active_keys: count(active().count()),
            open_keys: count(active().filter(|facts| keys.contains(&facts.key)).count()),
        };
        let found = places.into_iter().filter_map(|((key, kind, scope), since)| {
            Some((FindingKind::parse(&kind)?.name(), (key, scope, since)))
        });
        Ok(Findings { org, now: Some(found.collect()), scan: Some(scan) })
    }

    /// When they were found. A scan that finds nothing new stores nothing, so `scanned`, when this process
    /// last scanned the keys, may be later than what is stored.
    pub fn scanned_at(&self, scanned: Option<Time>) -> Option<Time> {
        let own = self.scan.map(|scan| scan.at);
        if self.now.is_some() { own } else { own.max(scanned) }
    }

    /// How many there are of each kind, by its name.
    pub fn counts(&self, conn: &mut Conn) -> Result<HashMap<String, i64>> {
        let Some(found) = &self.now else { return store::counts(conn, self.org) };
        let mut counts = HashMap::new();
        for (kind, _) in found {
            *counts.entry((*kind).to_owned()).or_default() += 1;
        }
        Ok(counts)
    }

    /// Those of a kind, oldest first.
    pub fn of_kind(
        &self,
        conn: &mut Conn,
        kind: FindingKind,
        (offset, limit): (i64, i64),
    ) -> Result<Vec<Found>> {
        let Some(mut found) = self.own(kind) else {
            return store::of_kind(conn, self.org, kind, (offset, limit));
        };
        found.sort_unstable_by(|(left, left_scope, left_since), (right, right_scope, right_since)| {
            (left_since, left, left_scope).cmp(&(right_since, right, right_scope))
        });
        let most = |number: i64| usize::try_from(number).unwrap_or(0);
        Ok(found.into_iter().skip(most(offset)).take(most(limit)).collect())
    }

    /// Those of a kind about keys behind one, in the order of keys, for exports. At most `limit`, except
    /// of a small organisation, which come at once.
    pub fn of_kind_after(
        &self,
        conn: &mut Conn,
        kind: FindingKind,
        after: Option<KeyId>,
        limit: i64,
    ) -> Result<Vec<Found>> {
        let Some(mut found) = self.own(kind) else {
            return store::of_kind_after(conn, self.org, kind, after, limit);
        };
        found.retain(|(key, _, _)| after.is_none_or(|after| *key > after));
        found.sort_unstable_by(|left, right| (left.0, &left.1).cmp(&(right.0, &right.1)));
        Ok(found)
    }

    fn own(&self, kind: FindingKind) -> Option<Vec<Found>> {
        let found = self.now.as_ref()?.iter().filter(|(name, _)| *name == kind.name());
        Some(found.map(|(_, found)| found.clone()).collect())
    }
}
