//! Which notice steps count for a secret. Pure: time comes in as arguments.

use crate::time::Time;

/// The steps before a key's end at which people are told, longest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps(Vec<i64>);

impl Steps {
    /// From spans before the end, in seconds, in any order.
    pub fn new(mut spans: Vec<i64>) -> Steps {
        spans.sort_unstable_by(|left, right| right.cmp(left));
        spans.dedup();
        Steps(spans)
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
