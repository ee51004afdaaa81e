//! Which clients have switched to the new secret during a rotation.

use std::collections::{BTreeMap, HashMap};

use diesel::prelude::*;

use crate::db::Conn;
use crate::error::Result;
use crate::id::{KeyId, OrgId, SecretId};
use crate::schema::{all_usage_callers, all_usage_counts};
use crate::time::{DAY, HOUR, MINUTE, Time};
use crate::usage::recent::CallerUse;
use crate::usage::totals::sum;

/// Minutes shown.
pub const MINUTES: usize = 60;
/// Days before the rotation from which clients count, so that a nightly job is not forgotten.
const BEFORE: i64 = 7;
/// Seconds without a request with the old secret after which a client that uses the new one has switched.
const MOVED: i64 = 10 * MINUTE;
/// Seconds without a request with the old secret after which a client is quiet.
const QUIET: i64 = HOUR;

/// Requests with one secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Requests of each of the last minutes, oldest first.
    pub minutes: Vec<i64>,
    /// Requests of the last 60 seconds.
    pub rate: i64,
}

/// The clients of a key whose secret was replaced.
#[derive(Debug, Default)]
pub struct RotationProgress {
    /// Clients that still use the old secret, latest first.
    pub still: Vec<CallerUse>,
    /// Clients that used the old secret and have been quiet since, latest first.
    pub unseen: Vec<CallerUse>,
    /// The number of addresses that use the new secret.
    pub addresses_on_new: usize,
}

/// Requests of a key by secret and minute.
pub fn flows(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    secrets: [SecretId; 2],
    now: Time,
) -> Result<[Flow; 2]> {
    let start = now.minute().plus(-(MINUTES as i64 - 1) * MINUTE);
    let rows: Vec<(SecretId, Time, i64)> = all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq(key)))
        .filter(all_usage_counts::width.eq(MINUTE).and(all_usage_counts::start.ge(start)))
        .group_by((all_usage_counts::secret_id, all_usage_counts::start))
        .select((all_usage_counts::secret_id, all_usage_counts::start, sum("requests")))
        .load(conn)?;
    Ok(secrets.map(|secret| {
        let mut minutes = vec![0; MINUTES];
        for (_, at, requests) in rows.iter().filter(|(of, _, _)| *of == secret) {
            let place = usize::try_from(at.since(start) / MINUTE).unwrap_or(0).min(MINUTES - 1);
            minutes[place] += requests;
        }
        Flow { rate: rate(&minutes, now), minutes }
    }))
}

/// Requests of the last 60 seconds, assuming that those of the minute before were evenly spread.
fn rate(minutes: &[i64], now: Time) -> i64 {
    let [.., before, this] = minutes else { return 0 };
    let left = MINUTE - now.since(now.minute());
    this + (before * left + MINUTE / 2) / MINUTE
}

/// All requests with a secret, which was created at `made`.
pub fn requests_with(conn: &mut Conn, org: OrgId, key: KeyId, secret: SecretId, made: Time) -> Result<i64> {
    Ok(all_usage_counts::table
        .filter(all_usage_counts::org_id.eq(org).and(all_usage_counts::key_id.eq(key)))
        .filter(all_usage_counts::width.eq(DAY).and(all_usage_counts::start.ge(made.floor(DAY))))
        .filter(all_usage_counts::secret_id.eq(secret))
        .select(sum("requests"))
        .first(conn)?)
}

/// The full hour from which the requests of clients count.
pub fn counted_from(now: Time) -> Time {
    now.plus(-HOUR).hour()
}

/// The progress at `now` of a rotation that began at `started`.
pub fn progress(
    conn: &mut Conn,
    org: OrgId,
    key: KeyId,
    (old, new): (SecretId, SecretId),
    started: Time,
    now: Time,
) -> Result<RotationProgress> {
    type Row = (SecretId, String, String, Time, i64, Time);
    let rows: Vec<Row> = all_usage_callers::table
        .filter(all_usage_callers::org_id.eq(org).and(all_usage_callers::key_id.eq(key)))
        .filter(all_usage_callers::hour.ge(started.plus(-BEFORE * DAY).hour()))
        .filter(all_usage_callers::secret_id.eq_any([old, new]))
        .select((
            all_usage_callers::secret_id,
            all_usage_callers::address,
            all_usage_callers::program,
            all_usage_callers::hour,
            all_usage_callers::requests,
            all_usage_callers::last_at,
        ))
        .load(conn)?;
    let mut uses: [Uses; 2] = Default::default();
    for (secret, address, program, hour, requests, last_at) in rows {
        let caller = uses[usize::from(secret == new)].entry((address, program)).or_insert((0, last_at));
        caller.0 += if hour >= counted_from(now) { requests } else { 0 };
        caller.1 = caller.1.max(last_at);
    }
    let [of_old, of_new] = uses;
    Ok(classify(of_old, &of_new, started, now))
}

/// The recent requests of each address and program, and the latest.
type Uses = HashMap<(String, String), (i64, Time)>;

fn classify(of_old: Uses, of_new: &Uses, started: Time, now: Time) -> RotationProgress {
    let mut progress = RotationProgress::default();
    // The start has whole seconds; a request within that second may have been earlier.
    let after = started.plus(1);
    for (caller, (requests, last_at)) in of_old {
        let quiet = now.since(last_at);
        let on_new = of_new.get(&caller).is_some_and(|(_, at)| *at >= last_at);
        let used = CallerUse { address: caller.0, program: caller.1, requests, last_at };
        if last_at >= after && quiet < QUIET && !(on_new && quiet >= MOVED) {
            progress.still.push(used);
        } else if !on_new {
            progress.unseen.push(used);
        }
    }
    for list in [&mut progress.still, &mut progress.unseen] {
        list.sort_by(|one, other| {
            (other.last_at, &one.address, &one.program).cmp(&(one.last_at, &other.address, &other.program))
        });
    }
    let addresses: BTreeMap<&str, ()> = of_new.keys().map(|(address, _)| (address.as_str(), ())).collect();
    progress.addresses_on_new = addresses.len();
    progress
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(list: &[(&str, i64)]) -> Uses {
        list.iter()
            .map(|&(program, at)| (("10.0.0.1".into(), program.into()), (1, Time::from_seconds(at))))
            .collect()
    }

    #[test]
    fn client_of_the_old_secret_still_uses_it_has_switched_or_is_quiet() {
        let started = Time::from_seconds(100_000);
        let now = started.plus(2 * HOUR);
        let ago = |seconds: i64| now.plus(-seconds).seconds();
        let old = uses(&[
            ("now", ago(5)),
            ("both", ago(9 * MINUTE)),
            ("moved lately", ago(11 * MINUTE)),
            ("quiet for long", ago(61 * MINUTE)),
            ("moved", ago(119 * MINUTE)),
            ("nightly", ago(20 * HOUR)),
        ]);
        let new = uses(&[
            ("both", ago(1)),
            ("moved lately", ago(1)),
            ("moved", ago(100 * MINUTE)),
            ("other", ago(1)),
        ]);
        let found = classify(old, &new, started, now);
        let names = |list: &[CallerUse]| list.iter().map(|used| used.program.clone()).collect::<Vec<_>>();
        assert_eq!(names(&found.still), ["now", "both"]);
        assert_eq!(names(&found.unseen), ["quiet for long", "nightly"]);
        assert_eq!(found.addresses_on_new, 1);
    }

    #[test]
    fn no_client_has_switched_just_after_the_start() {
        let started = Time::from_seconds(100_000);
        let found = classify(uses(&[("caller", 99_990)]), &Uses::new(), started, started.plus(1));
        assert_eq!((found.still.len(), found.unseen.len()), (0, 1));
    }

    #[test]
    fn rate_is_that_of_the_last_sixty_seconds() {
        let mut minutes = vec![0; MINUTES];
        minutes[MINUTES - 2] = 60;
        minutes[MINUTES - 1] = 15;
        assert_eq!(rate(&minutes, Time::from_seconds(6_000 + 15)), 15 + 45);
        assert_eq!(rate(&minutes, Time::from_seconds(6_000)), 15 + 60);
        assert_eq!(rate(&[], Time::from_seconds(0)), 0);
    }
}
