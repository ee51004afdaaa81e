//! The health of upstreams and models, derived from the requests that went to them. In memory: each process knows only its
//! own requests, and Keydesk never sends one just to find out.

use dashmap::DashMap;

use crate::time::{HOUR, MINUTE, Time};

/// Minutes that rates look back.
pub const MINUTES: usize = 15;
/// Seconds after the last request until something counts as not called.
const FORGOTTEN: i64 = 24 * HOUR;

/// What became of requests, by upstream and by model.
#[derive(Default)]
pub struct Health {
    upstreams: DashMap<String, Record>,
    models: DashMap<String, Record>,
}

/// Recent requests to one upstream or model.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The minute of each place, and its requests and failures. Place = minute modulo their number.
    minutes: [(i64, u32, u32); MINUTES],
    last: Option<Time>,
    /// The first of the failures since the last success.
    failing_since: Option<Time>,
    /// Why the last request failed, such as `status 503`.
    cause: String,
}

/// A record as pages show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// No request in the last 24 hours.
    NotCalled,
    /// The last request succeeded.
    Working,
    /// The last request failed.
    Failing { since: Time, cause: String },
}

impl Health {
    /// Records that an upstream responded, or why it failed.
    pub fn record_upstream(&self, name: &str, failure: Option<&str>, now: Time) {
        add(&self.upstreams, name, failure, now);
    }

    /// Records that one of a model's upstreams responded, or why the last of them failed.
    pub fn record_model(&self, name: &str, failure: Option<&str>, now: Time) {
        add(&self.models, name, failure, now);
    }

    /// Records that a response failed after it had been recorded as one that works. Nothing happens for names without
    /// a record.
    pub fn record_break(&self, upstream: &str, model: &str, cause: &str, now: Time) {
        for (records, name) in [(&self.upstreams, upstream), (&self.models, model)] {
            if let Some(mut record) = records.get_mut(name) {
                record.break_off(cause, now);
            }
        }
    }

    /// The record of an upstream.
    pub fn upstream(&self, name: &str) -> Record {
        self.upstreams.get(name).map(|record| record.clone()).unwrap_or_default()
    }

    /// The record of a model.
    pub fn model(&self, name: &str) -> Record {
        self.models.get(name).map(|record| record.clone()).unwrap_or_default()
    }
}

fn add(records: &DashMap<String, Record>, name: &str, failure: Option<&str>, now: Time) {
    match records.get_mut(name) {
        Some(mut record) => record.add(failure, now),
        None => records.entry(name.to_owned()).or_default().add(failure, now),
    }
}

impl Record {
    fn add(&mut self, failure: Option<&str>, now: Time) {
        let place = self.place(now);
        place.1 = place.1.saturating_add(1);
        self.last = Some(now);
        match failure {
            Some(cause) => self.fail(cause, now),
            None => self.failing_since = None,
        }
    }

    /// A request of this or an earlier minute failed after all.
    fn break_off(&mut self, cause: &str, now: Time) {
        self.fail(cause, now);
        let place = self.place(now);
        place.1 = place.1.max(place.2);
    }

    fn fail(&mut self, cause: &str, now: Time) {
        let place = self.place(now);
        place.2 = place.2.saturating_add(1);
        self.failing_since.get_or_insert(now);
        cause.clone_into(&mut self.cause);
    }

    /// The counts of the current minute.
    fn place(&mut self, now: Time) -> &mut (i64, u32, u32) {
        let minute = now.seconds() / MINUTE;
        let place = &mut self.minutes[usize::try_from(minute).unwrap_or(0) % MINUTES];
        if place.0 != minute {
            *place = (minute, 0, 0);
        }
        place
    }

    /// Requests and failures of the last [`MINUTES`] minutes.
    pub fn recent(&self, now: Time) -> (u32, u32) {
        let first = now.seconds() / MINUTE - i64::try_from(MINUTES).unwrap_or(0);
        let recent = self.minutes.iter().filter(|(minute, _, _)| *minute > first);
        recent.fold((0, 0), |(requests, failures), place| (requests + place.1, failures + place.2))
    }

    /// How it is now.
    pub fn state(&self, now: Time) -> State {
        match (self.last, self.failing_since) {
            (Some(last), _) if now.since(last) > FORGOTTEN => State::NotCalled,
            (None, _) => State::NotCalled,
            (Some(_), Some(since)) => State::Failing { since, cause: self.cause.clone() },
            (Some(_), None) => State::Working,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time::from_seconds(1_700_000_000 + seconds)
    }

    #[test]
    fn state_follows_the_last_request() {
        let health = Health::default();
        let state = |seconds| health.upstream("one").state(at(seconds));
        assert_eq!(state(0), State::NotCalled);
        health.record_upstream("one", None, at(0));
        assert_eq!(state(0), State::Working);
        health.record_upstream("one", Some("status 503"), at(10));
        health.record_upstream("one", Some("status 500"), at(20));
        assert_eq!(state(30), State::Failing { since: at(10), cause: "status 500".to_owned() });
        assert_eq!(health.model("one").state(at(30)), State::NotCalled);
        health.record_upstream("one", None, at(40));
        assert_eq!(state(40), State::Working);
        assert_eq!(state(40 + FORGOTTEN + 1), State::NotCalled);
    }

    #[test]
    fn response_that_breaks_off_counts_as_failed() {
        let health = Health::default();
        health.record_break("one", "m", "broke off", at(0));
        assert_eq!(health.upstream("one").state(at(0)), State::NotCalled);
        health.record_upstream("one", None, at(0));
        health.record_model("m", None, at(0));
        health.record_break("one", "m", "broke off", at(10));
        for record in [health.upstream("one"), health.model("m")] {
            assert_eq!(record.state(at(10)), State::Failing { since: at(10), cause: "broke off".to_owned() });
            assert_eq!(record.recent(at(10)), (1, 1));
        }
        // Even if its minute is over.
        health.record_model("m", None, at(20));
        health.record_break("one", "m", "broke off", at(20 + MINUTE));
        assert_eq!(health.model("m").recent(at(20 + MINUTE)), (3, 2));
    }

    #[test]
    fn rates_cover_the_last_minutes() {
        let health = Health::default();
        for minute in 0..30 {
            let failure = (minute % 2 == 0).then_some("status 500");
            health.record_model("one", failure, at(minute * MINUTE));
        }
        assert_eq!(health.model("one").recent(at(29 * MINUTE)), (15, 7));
        assert_eq!(health.model("one").recent(at(100 * MINUTE)), (0, 0));
    }
}
