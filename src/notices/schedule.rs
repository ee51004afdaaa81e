//! Which notice steps count for a secret. Pure: time comes in as arguments.

use crate::time::{Time, parse_span};

/// The steps before a key's end at which people are told, longest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(Vec<i64>);

impl Steps {
    /// Parses `30d,14d,7d,3d,1d`; `None` when a step is not a span or is zero.
    pub fn parse(text: &str) -> Option<Steps> {
        let mut steps: Vec<i64> = text
            .split(',')
            .map(|step| parse_span(step.trim()).filter(|&seconds| seconds > 0))
            .collect::<Option<_>>()?;
        steps.sort_unstable_by(|left, right| right.cmp(left));
        steps.dedup();
        Some(Steps(steps))
    }

    /// When a secret that lives from `created` to `ends` begins to count as expiring: the
    /// first step that is under half of its life. `None` when no step counts.
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
    use crate::time::DAY;

    #[test]
    fn a_step_counts_only_under_half_of_the_life() {
        let steps = Steps::parse("30d,14d,7d,3d,1d").expect("valid");
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

    #[test]
    fn steps_are_spans_above_zero() {
        assert!(Steps::parse("").is_none());
        assert!(Steps::parse("7d,0s").is_none());
        assert!(Steps::parse("7d,soon").is_none());
        assert_eq!(Steps::parse("1d, 30d,1d").map(|steps| steps.to_string()), Some("2592000s,86400s".into()));
    }
}
