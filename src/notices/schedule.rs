//! The notice steps of a secret. Pure: time is an argument.

use jiff::tz::TimeZone;

use crate::time::{DAY, Time};

/// The step at the expiry.
pub const END: i64 = 0;
/// The step one day after the expiry, if clients still use the key.
pub const AFTER: i64 = -DAY;

/// A point in time at which a notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds before the expiry.
    pub step: i64,
    pub at: Time,
}

/// The configured notice steps, longest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(Vec<i64>);

impl Steps {
    /// Steps from seconds before the expiry, in any order.
    pub fn new(mut spans: Vec<i64>) -> Steps {
        spans.sort_unstable_by(|left, right| right.cmp(left));
        spans.dedup();
        Steps(spans)
    }

    /// The seconds before the expiry, longest first.
    pub fn spans(&self) -> &[i64] {
        &self.0
    }

    /// When notices are sent for a secret created at `made`, whose expiry was set at `stands_since`, and
    /// whose owner lives in `zone`; earliest first.
    ///
    /// Steps of a day or more are sent at the last 09:00 that is not after them. Steps that were past when
    /// the expiry was set are skipped.
    pub fn moments(&self, made: Time, stands_since: Time, ends: Time, zone: &TimeZone) -> Vec<Moment> {
        let life = ends.since(made);
        let counting = self.0.iter().filter(|&&step| step * 2 < life);
        let steps = counting.map(|&step| {
            let plain = ends.plus(-step);
            let morning = if step < DAY { plain } else { plain.last_morning(zone) };
            // 09:00 may be before the expiry was set even though the step itself is not.
            Moment { step, at: if morning > stands_since { morning } else { plain } }
        });
        let mut moments: Vec<Moment> = steps.filter(|moment| moment.at > stands_since).collect();
        moments.push(Moment { step: END, at: ends });
        moments.push(Moment { step: AFTER, at: ends.plus(-AFTER) });
        moments
    }

    /// When a secret with the lifetime from `created` to `ends` starts to count as expiring: the first step
    /// shorter than half its lifetime. `None` if there is none.
    pub fn expiring_at(&self, created: Time, ends: Time) -> Option<Time> {
        let life = ends.since(created);
        let first = self.0.iter().find(|&&step| step * 2 < life)?;
        Some(ends.plus(-first))
    }
}

impl std::fmt::Display for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let steps: Vec<String> = self.0.iter().map(|seconds| format!("{seconds}s")).collect();
        f.write_str(&steps.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).expect("valid")
    }

    #[test]
    fn steps_of_days_are_sent_at_nine_in_the_owners_zone() {
        let steps = Steps::new(vec![7 * DAY, DAY, 3_600]);
        let zone = TimeZone::get("Europe/Berlin").expect("bundled");
        let (made, ends) = (at("2026-09-01T10:00:00Z"), at("2026-11-30T22:59:00Z"));
        let sent: Vec<(i64, String)> = steps
            .moments(made, made, ends, &zone)
            .into_iter()
            .map(|moment| (moment.step, moment.at.rfc3339()))
            .collect();
        let expected = [
            (7 * DAY, "2026-11-23T08:00:00Z"),
            (DAY, "2026-11-29T08:00:00Z"),
            (3_600, "2026-11-30T21:59:00Z"),
            (END, "2026-11-30T22:59:00Z"),
            (AFTER, "2026-12-01T22:59:00Z"),
        ];
        assert_eq!(sent, expected.map(|(step, at)| (step, at.to_owned())));
        // After a change to daylight saving time: 09:00 in October is 07:00 UTC.
        let summer = steps.moments(made, made, at("2026-10-27T06:00:00Z"), &zone);
        assert_eq!(summer[0].at.rfc3339(), "2026-10-19T07:00:00Z");
    }

    #[test]
    fn changing_the_expiry_moves_the_steps_and_skips_past_ones() {
        let steps = Steps::new([30, 14, 7, 3, 1].map(|days| days * DAY).to_vec());
        let made = at("2026-01-01T12:00:00Z");
        let moved = made.plus(85 * DAY);
        let moments = steps.moments(made, moved, made.plus(100 * DAY), &TimeZone::UTC);
        let sent: Vec<i64> = moments.iter().map(|moment| moment.step / DAY).collect();
        assert_eq!(sent, [14, 7, 3, 1, 0, -1]);
    }

    #[test]
    fn short_lifetime_has_no_early_steps() {
        let steps = Steps::new(vec![30, 10]);
        let made = Time::from_seconds(1_000);
        let sent = |life: i64| -> Vec<i64> {
            let moments = steps.moments(made, made, made.plus(life), &TimeZone::UTC);
            moments.iter().filter(|moment| moment.step > END).map(|moment| moment.step).collect()
        };
        assert_eq!(sent(90), [30, 10]);
        assert_eq!(sent(60), [10]);
        assert_eq!(sent(20), [0_i64; 0]);
    }

    #[test]
    fn step_applies_only_if_it_is_shorter_than_half_the_lifetime() {
        let steps = Steps::new([1, 30, 7, 3, 14].map(|days| days * DAY).to_vec());
        let start = Time::from_seconds(0);
        let warned = |days: i64| {
            let end = start.plus(days * DAY);
            steps.expiring_at(start, end).map(|at| end.since(at) / DAY)
        };
        assert_eq!(warned(90), Some(30));
        assert_eq!(warned(60), Some(14));
        assert_eq!(warned(30), Some(14));
        assert_eq!(warned(7), Some(3));
        assert_eq!(warned(3), Some(1));
        assert_eq!(warned(2), None);
    }
}
