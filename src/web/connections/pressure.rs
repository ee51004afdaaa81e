//! Chooses the connections to close when there is no room.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;

use crate::id::{KeyId, OrgId, UserId};

/// The principal for whom a connection works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionOwner {
    /// The organisation of the key; for a person, their first one.
    pub org: Option<OrgId>,
    /// The key's owner, or the person.
    pub owner: UserId,
    /// The key, if the request has one.
    pub key: Option<KeyId>,
}

/// A connection that may be closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) number: u64,
    /// `None` for an unauthenticated request through a trusted proxy.
    pub(super) works_for: Option<ConnectionOwner>,
    /// Whether the server is waiting for the client: for a request, the rest of a body, or for it to read.
    pub(super) is_stalled: bool,
}

impl Candidate {
    fn org(&self) -> Option<OrgId> {
        self.works_for.and_then(|works_for| works_for.org)
    }

    fn owner(&self) -> Option<UserId> {
        self.works_for.map(|works_for| works_for.owner)
    }

    fn key(&self) -> Option<KeyId> {
        self.works_for.and_then(|works_for| works_for.key)
    }
}

/// Chooses the connections to close, at least one if there is any. The largest owner above `share` loses
/// connections, then the largest organisation above twice that; connections that wait for their client first,
/// and only then those that are being answered. Up to `batch` stalled connections above the share are closed
/// together, so that a flood doesn't need a scan for each.
pub(super) fn choose(candidates: &[Candidate], share: usize, batch: usize) -> Vec<u64> {
    let stalled: Vec<Candidate> = candidates.iter().filter(|one| one.is_stalled).copied().collect();
    let owner_above = |from: &[Candidate]| above(largest(from, Candidate::owner), share);
    let (mut chosen, excess) = if let Some(found) = owner_above(&stalled) {
        found
    } else if let Some((of_org, _)) = above(largest(&stalled, Candidate::org), 2 * share) {
        (largest(&of_org, Candidate::owner), 1)
    } else if let Some((of_owner, _)) = owner_above(candidates) {
        (of_owner, 1)
    } else {
        (largest(&largest(candidates, Candidate::org), Candidate::owner), 1)
    };
    let by_key = count(&chosen, Candidate::key);
    chosen.sort_by_key(|one| (Reverse(by_key.get(&one.key()).copied()), !one.is_stalled, one.number));
    chosen.iter().take(excess.clamp(1, batch.max(1))).map(|one| one.number).collect()
}

/// The group and its excess over the share, if any.
fn above(group: Vec<Candidate>, share: usize) -> Option<(Vec<Candidate>, usize)> {
    let excess = group.len().checked_sub(share).filter(|excess| *excess > 0)?;
    Some((group, excess))
}

/// The largest group with the same value of `of`.
fn largest<T: Hash + Eq>(candidates: &[Candidate], of: fn(&Candidate) -> T) -> Vec<Candidate> {
    let sizes = count(candidates, of);
    let Some(most) = sizes.values().max() else { return Vec::new() };
    // Among equally large groups, the one with the oldest connection.
    let Some(first) = candidates.iter().find(|one| sizes.get(&of(one)) == Some(most)) else {
        return Vec::new();
    };
    candidates.iter().filter(|one| of(one) == of(first)).copied().collect()
}

fn count<T: Hash + Eq>(candidates: &[Candidate], of: fn(&Candidate) -> T) -> HashMap<T, usize> {
    let mut sizes = HashMap::new();
    candidates.iter().for_each(|one| *sizes.entry(of(one)).or_default() += 1);
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    const SHARE: usize = 4;

    /// Connections of each owner, numbered consecutively.
    fn candidates(groups: &[(Option<ConnectionOwner>, usize, bool)]) -> Vec<Candidate> {
        let each = groups.iter().flat_map(|group| std::iter::repeat_n(group, group.1));
        each.zip(0..)
            .map(|((works_for, _, is_stalled), number)| Candidate {
                number,
                works_for: *works_for,
                is_stalled: *is_stalled,
            })
            .collect()
    }

    fn org() -> OrgId {
        OrgId::new(Time::from_seconds(0))
    }

    fn owner() -> UserId {
        UserId::new(Time::from_seconds(0))
    }

    fn held(org: OrgId, owner: UserId) -> Option<ConnectionOwner> {
        Some(ConnectionOwner { org: Some(org), owner, key: Some(KeyId::new(Time::from_seconds(0))) })
    }

    #[test]
    fn stalled_connections_are_closed_before_a_larger_number_being_answered() {
        let all = candidates(&[(held(org(), owner()), 9, false), (held(org(), owner()), 6, true)]);
        assert_eq!(choose(&all, SHARE, 8), [9, 10]);
        assert_eq!(choose(&all, SHARE, 1), [9]);
    }

    #[test]
    fn keys_of_one_owner_share_a_limit_and_the_largest_key_loses_first() {
        let (org_id, greedy) = (org(), owner());
        let all = candidates(&[
            (held(org_id, owner()), 3, true),
            (held(org_id, greedy), 2, true),
            (held(org_id, greedy), 3, true),
        ]);
        assert_eq!(choose(&all, SHARE, 8), [5]);
    }

    #[test]
    fn many_owners_of_one_organisation_do_not_cost_another_organisation() {
        let greedy = org();
        let mut groups = vec![(held(org(), owner()), 6, false)];
        groups.extend((0..5).map(|_| (held(greedy, owner()), 2, true)));
        assert_eq!(choose(&candidates(&groups), SHARE, 8), [6]);
    }

    #[test]
    fn connections_being_answered_are_closed_if_none_is_stalled() {
        let all = candidates(&[(held(org(), owner()), 2, false), (held(org(), owner()), 6, false)]);
        assert_eq!(choose(&all, SHARE, 8), [2], "one at a time");
        let even = candidates(&[(held(org(), owner()), 1, false), (None, 1, false)]);
        assert_eq!(choose(&even, SHARE, 8), [0], "one connection always makes room");
        assert!(choose(&[], SHARE, 8).is_empty());
    }
}
