//! Refused requests of proven keys: counted by key, reason and hour, with the latest few of each key in detail.

pub mod store;

use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::{KeyId, OrgId};
use crate::scope::Scope;
use crate::time::Time;

/// The most refused requests of a key that are kept in detail.
pub const RECENT: usize = 20;

/// The most characters of a route that are kept.
const LONGEST_ROUTE: usize = 200;

/// One refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCall {
    /// The organisation.
    pub org: OrgId,
    /// The key.
    pub key: KeyId,
    /// When.
    pub at: Time,
    /// The request.
    pub request: String,
    /// The code of the refusal, as the API tells it.
    pub code: &'static str,
    /// Method and path of what was called.
    pub route: String,
    /// From where.
    pub address: String,
    /// The scope that was missing or is needed, if any.
    pub scope: Option<Scope>,
    /// Whether the key holds the scope and its owner's role does not.
    pub by_role: bool,
}

/// A sum of refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub requests: i64,
    /// The latest.
    pub last: (Time, String, String),
}

/// Refusals on their way from memory to the database. It holds as much as there are keys that are
/// refused, whatever clients send.
#[derive(Clone, Debug, Default)]
pub struct Refused {
    /// By organisation, key, hour and code.
    pub sums: BTreeMap<(OrgId, KeyId, Time, &'static str), Sum>,
    /// The latest of each key, oldest first.
    pub recent: BTreeMap<KeyId, VecDeque<RefusedCall>>,
}

impl Refused {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.sums.is_empty()
    }

    /// Counts a refusal.
    pub fn record(&mut self, refusal: RefusedCall) {
        let last = (refusal.at, refusal.address.clone(), refusal.request.clone());
        self.add((refusal.org, refusal.key, refusal.at.hour(), refusal.code), Sum { requests: 1, last });
        self.keep(refusal);
    }

    /// Adds what was counted later.
    pub fn merge(&mut self, later: Refused) {
        for (cell, sum) in later.sums {
            self.add(cell, sum);
        }
        later.recent.into_values().flatten().for_each(|refusal| self.keep(refusal));
    }

    /// The same, separately for each organisation.
    pub fn by_org(self) -> HashMap<OrgId, Refused> {
        let mut parts: HashMap<OrgId, Refused> = HashMap::new();
        for (cell, sum) in self.sums {
            parts.entry(cell.0).or_default().sums.insert(cell, sum);
        }
        for (key, recent) in self.recent {
            if let Some(org) = recent.front().map(|refusal| refusal.org) {
                parts.entry(org).or_default().recent.insert(key, recent);
            }
        }
        parts
    }

    fn add(&mut self, cell: (OrgId, KeyId, Time, &'static str), sum: Sum) {
        let own = self.sums.entry(cell).or_insert_with(|| Sum { requests: 0, last: sum.last.clone() });
        own.requests += sum.requests;
        own.last = sum.last;
    }

    fn keep(&mut self, mut refusal: RefusedCall) {
        if refusal.route.chars().count() > LONGEST_ROUTE {
            refusal.route = refusal.route.chars().take(LONGEST_ROUTE).chain(['…']).collect();
        }
        let recent = self.recent.entry(refusal.key).or_default();
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back(refusal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_counted_and_the_latest_are_kept() {
        let hour = Time::from_seconds(1_800_014_400);
        let (org, key) = (OrgId::new(hour), KeyId::new(hour));
        let refusal = |number: i64| RefusedCall {
            org,
            key,
            at: hour.plus(number),
            request: format!("req_{number}"),
            code: if number % 2 == 0 { "rate_limited" } else { "key_expired" },
            route: "GET /v1/models".into(),
            address: "192.0.2.1".into(),
            scope: None,
            by_role: false,
        };
        let mut refused = Refused::default();
        (0..50).for_each(|number| refused.record(refusal(number)));
        let mut later = Refused::default();
        (50..100).for_each(|number| later.record(refusal(number)));
        refused.merge(later);
        assert_eq!(refused.sums.values().map(|sum| sum.requests).collect::<Vec<_>>(), [50, 50]);
        assert_eq!(refused.sums[&(org, key, hour, "key_expired")].last.2, "req_99");
        let kept: Vec<&str> = refused.recent[&key].iter().map(|refusal| &*refusal.request).collect();
        assert_eq!((kept.len(), kept[0], kept[19]), (20, "req_80", "req_99"));
    }
}
