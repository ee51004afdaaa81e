//! A sorted part of a table of counts.

use std::cmp::{Ordering, Reverse};

use crate::usage::totals::Totals;

/// The column by which a table is sorted, most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Requests.
    #[default]
    Requests,
    /// Tokens in both directions.
    Tokens,
    /// The share of requests that did not succeed.
    Failed,
    /// Rate-limited requests.
    Limited,
}

/// A part of a table.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub sort: Sort,
    /// Whether the order is reversed.
    pub reversed: bool,
    /// Rows to skip.
    pub offset: i64,
    /// The most rows.
    pub limit: i64,
}

impl Sort {
    /// The value by which rows are compared; shares in millionths.
    pub fn value(self, totals: &Totals) -> i64 {
        match self {
            Sort::Requests => totals.requests,
            Sort::Tokens => totals.tokens(),
            Sort::Failed => totals.failed() * 1_000_000 / totals.requests.max(1),
            Sort::Limited => totals.limited,
        }
    }
}

impl Part {
    /// The rows of this part, in their order.
    pub fn of<G: Ord + Clone>(&self, rows: &[(G, Totals)]) -> Vec<(G, Totals)> {
        let offset = usize::try_from(self.offset.max(0)).unwrap_or(usize::MAX);
        let limit = usize::try_from(self.limit.max(0)).unwrap_or(0);
        let end = offset.saturating_add(limit);
        let mut rows: Vec<&(G, Totals)> = rows.iter().collect();
        if end < rows.len() {
            // Of many rows, only the first are sorted.
            rows.select_nth_unstable_by(end, |left, right| self.compare(left, right));
            rows.truncate(end);
        }
        rows.sort_unstable_by(|left, right| self.compare(left, right));
        rows.into_iter().skip(offset).cloned().collect()
    }

    fn compare<G: Ord>(&self, left: &(G, Totals), right: &(G, Totals)) -> Ordering {
        let key = |row: &(G, Totals)| Reverse(self.sort.value(&row.1));
        let order = key(left).cmp(&key(right)).then_with(|| left.0.cmp(&right.0));
        if self.reversed { order.reverse() } else { order }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reversed_table_is_the_table_in_reverse() {
        let of = |requests| Totals { requests, ..Totals::default() };
        let rows = vec![("a", of(2)), ("b", of(9)), ("c", of(2)), ("d", of(5))];
        let part = |reversed, offset, limit| Part { sort: Sort::Requests, reversed, offset, limit };
        let names = |part: Part| part.of(&rows).into_iter().map(|row| row.0).collect::<String>();
        assert_eq!(names(part(false, 0, 9)), "bdac");
        assert_eq!(names(part(true, 0, 9)), "cadb");
        assert_eq!(names(part(false, 1, 2)), "da");
        assert_eq!(names(part(true, 3, 2)), "b");
    }
}
