//! The figures above the table, each compared with the period before, and the chart.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::portal::kit::chart::{Bucket, Chart};
use crate::portal::kit::format;
use crate::time::{DAY, HOUR, Time};
use crate::usage::latency::Histogram;
use crate::usage::question::{Group, Question};
use crate::usage::report;
use crate::usage::totals::Totals;

/// One figure.
pub struct Tile {
    /// What it is.
    pub label: &'static str,
    pub figure: String,
    /// Muted text behind it.
    pub rest: String,
    /// The comparison below it.
    pub note: String,
}

/// The data of figures and chart.
pub struct Figures {
    /// The totals of each bucket, with its start.
    pub buckets: Vec<(Time, Totals)>,
    /// The totals of the period.
    pub total: Totals,
    /// The totals of the period before.
    pub before: Totals,
    /// Response times.
    pub latencies: Histogram,
}

impl Figures {
    pub fn read(
        conn: &mut crate::db::Conn,
        org: crate::id::OrgId,
        question: &Question,
        now: Time,
    ) -> crate::error::Result<Figures> {
        let together = Question { group: Group::All, ..question.clone() };
        let lines = report::report(conn, org, &together)?;
        let sum = |lines: &report::Lines| {
            lines.values().fold(Totals::default(), |mut sum, totals| {
                sum.add(totals);
                sum
            })
        };
        let mut before = Totals::default();
        for range in question.range.before(now) {
            before.add(&sum(&report::report(conn, org, &Question { range, ..together.clone() })?));
        }
        let total = sum(&lines);
        let of = |start| (start, lines.get(&(start, None)).copied().unwrap_or_default());
        let buckets = question.range.buckets().map(of).collect();
        Ok(Figures { buckets, total, before, latencies: report::latencies(conn, org, &together)? })
    }

    /// The figures at the top of every usage page.
    pub fn tiles(&self) -> Vec<Tile> {
        let (total, before) = (&self.total, &self.before);
        let tile = |label, figure, rest, note| Tile { label, figure, rest, note };
        vec![
            tile(
                "Requests",
                in_full(total.requests),
                String::new(),
                compare(total.requests, before.requests),
            ),
            tile(
                "Tokens in / out",
                tokens(total.input_tokens),
                format!("/ {}", tokens(total.output_tokens)),
                with_parts(total, compare(total.tokens(), before.tokens())),
            ),
            tile(
                "Failed",
                format::share(total.failed(), total.requests),
                String::new(),
                match before.requests {
                    0 => "none before".to_owned(),
                    _ => format!("{} before", format::share(before.failed(), before.requests)),
                },
            ),
            tile(
                "Rate limited",
                in_full(total.limited),
                String::new(),
                compare(total.limited, before.limited),
            ),
            tile(
                "Median response",
                took(self.latencies.within(50)),
                String::new(),
                self.latencies
                    .within(95)
                    .map_or_else(String::new, |time| format!("95\u{a0}% within {}", took(Some(time)))),
            ),
        ]
    }

    /// The chart, with its caption.
    pub fn chart(&self, question: &Question) -> Chart {
        let daily = question.range.width == DAY;
        let utc = TimeZone::UTC;
        let name = |at: Time, pattern: &str| at.in_zone(&utc).strftime(pattern).to_string();
        // Short names must be unique: hours of several days need the day, days of about a year the year.
        let (short, long) = match (daily, self.buckets.len()) {
            (true, 0..=300) => ("%-d %b", "%-d %b %Y"),
            (true, _) => ("%b %Y", "%-d %b %Y"),
            (false, 0..=24) => ("%H:%M", "%-d %b, %H:%M"),
            (false, _) => ("%-d %b, %H:%M", "%-d %b, %H:%M"),
        };
        let of = |&(start, totals): &(Time, Totals)| Bucket {
            short: name(start, short),
            long: name(start, long),
            totals,
        };
        let buckets: Vec<Bucket> = self.buckets.iter().map(of).collect();
        let bucket = if daily { "day" } else { "hour" };
        let most = self.buckets.iter().rev().max_by_key(|(_, totals)| totals.requests);
        let most = most.filter(|(_, totals)| totals.requests > 0).map(|(start, totals)| {
            let at = name(*start, if daily { "%-d %b" } else { "%-d %b at %H:%M" });
            format!(
                "; most on {at}: {}; {} failed",
                format::number(totals.requests),
                format::share(self.total.failed(), self.total.requests)
            )
        });
        let caption = format!(
            "Requests per {bucket}, {} (UTC). Total {}{}.",
            span(question),
            format::number(self.total.requests),
            most.unwrap_or_default()
        );
        Chart::new(bucket, caption, &buckets)
    }
}

/// The days or hours of a query: "25 Oct – 23 Nov 2026".
pub fn span(question: &Question) -> String {
    let utc = TimeZone::UTC;
    let last = question.range.to.plus(-1).in_zone(&utc);
    let first = question.range.first().in_zone(&utc);
    let day = |at: &jiff::ZonedDateTime, pattern: &str| at.strftime(pattern).to_string();
    if question.range.width != DAY {
        let until = question.range.buckets().last().map_or(question.range.to, |start| start.plus(HOUR));
        return format!(
            "{} – {}",
            day(&first, "%-d %b, %H:%M"),
            day(&until.in_zone(&utc), "%-d %b %Y, %H:%M")
        );
    }
    match first.year() == last.year() {
        _ if first.date() == last.date() => day(&last, "%-d %b %Y"),
        true => format!("{} – {}", day(&first, "%-d %b"), day(&last, "%-d %b %Y")),
        false => format!("{} – {}", day(&first, "%-d %b %Y"), day(&last, "%-d %b %Y")),
    }
}

/// A number where there is room: in full up to ten million.
fn in_full(number: i64) -> String {
    if number < 10_000_000 { format::number(number) } else { format::short(number) }
}

/// A number beside another: without a fraction from ten on.
fn tokens(number: i64) -> String {
    let text = format::short(number);
    match text.split_once('.') {
        Some((whole, rest)) if whole.len() > 1 => {
            format!("{whole}{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
        }
        _ => text,
    }
}

/// "12 % more than before".
fn compare(now: i64, before: i64) -> String {
    if before == 0 {
        return if now == 0 { "as before".to_owned() } else { "none before".to_owned() };
    }
    let percent = (i128::from(now) - i128::from(before)) * 100 / i128::from(before);
    match percent {
        0 => "as before".to_owned(),
        1..=199 => format!("{percent}\u{a0}% more than before"),
        200.. => {
            let times = i64::try_from(percent / 100 + 1).unwrap_or(i64::MAX);
            format!("{} times as many as before", format::short(times))
        }
        _ => format!("{}\u{a0}% less than before", -percent),
    }
}

fn took(within: Option<Option<Duration>>) -> String {
    match within {
        None => "none".to_owned(),
        Some(None) => "over 65\u{a0}s".to_owned(),
        Some(Some(time)) if time < Duration::from_secs(1) => {
            format!("{}\u{a0}ms", time.as_micros() as f64 / 1_000.0)
        }
        Some(Some(time)) => format!("{:.0}\u{a0}s", time.as_secs_f64()),
    }
}

/// A note about tokens, with the cached and the reasoning ones among them.
fn with_parts(total: &Totals, note: String) -> String {
    let parts = [(total.cached_tokens, "cached"), (total.reasoning_tokens, "reasoning")];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let mut all: Vec<String> = parts.map(|(count, name)| format!("{}\u{a0}{name}", tokens(count))).collect();
    all.extend(Some(note).filter(|note| !note.is_empty()));
    all.join(" · ")
}

#[cfg(test)]
mod tests {
    use askama::Template as _;

    use super::*;
    use crate::usage::question::{Filter, Range};

    #[test]
    fn figure_is_compared_in_words() {
        let cases = [
            (0, 0, "as before"),
            (5, 0, "none before"),
            (112, 100, "12\u{a0}% more than before"),
            (91, 100, "9\u{a0}% less than before"),
            (0, 100, "100\u{a0}% less than before"),
            (100, 100, "as before"),
            (2_000, 100, "20 times as many as before"),
        ];
        for (now, before, expected) in cases {
            assert_eq!(compare(now, before), expected);
        }
    }

    #[test]
    fn names_below_the_bars_are_distinguished_by_day_and_year() {
        let now = Time::parse("2026-11-26T15:30:00Z").unwrap();
        let charted = |days: i64, width: i64| {
            let range = Range { from: now.plus(-days * DAY).floor(DAY), to: now, width };
            let figures = Figures {
                buckets: range.buckets().map(|start| (start, Totals::default())).collect(),
                total: Totals::default(),
                before: Totals::default(),
                latencies: Histogram::default(),
            };
            let question = Question { range, filter: Filter::default(), group: Group::All };
            figures.chart(&question).render().unwrap()
        };
        for (days, width, first) in [
            (0, HOUR, "<span>00:00</span>"),
            (2, HOUR, "<span>24 Nov, 00:00</span>"),
            (29, DAY, "<span>28 Oct</span>"),
            (365, DAY, "<span>Nov 2025</span>"),
        ] {
            let text = charted(days, width);
            assert!(text.contains(first), "{days}: {text}");
        }
    }

    #[test]
    fn token_counts_are_short_enough_to_share_a_tile() {
        let cases =
            [(999, "999"), (1_100_000, "1.1\u{a0}M"), (74_600_000, "74\u{a0}M"), (412_000_000, "412\u{a0}M")];
        for (number, expected) in cases {
            assert_eq!(tokens(number), expected);
        }
    }

    #[test]
    fn note_about_tokens_names_the_cached_and_the_reasoning_ones() {
        let of =
            |cached_tokens, reasoning_tokens| Totals { cached_tokens, reasoning_tokens, ..Totals::default() };
        for (total, note, expected) in [
            (of(0, 0), "as before", "as before"),
            (of(900, 0), "as before", "900\u{a0}cached · as before"),
            (of(900, 40), "", "900\u{a0}cached · 40\u{a0}reasoning"),
        ] {
            assert_eq!(with_parts(&total, note.to_owned()), expected);
        }
    }

    #[test]
    fn time_has_a_fitting_unit() {
        assert_eq!(took(None), "none");
        assert_eq!(took(Some(Some(Duration::from_micros(250)))), "0.25\u{a0}ms");
        assert_eq!(took(Some(Some(Duration::from_micros(512_000)))), "512\u{a0}ms");
        assert_eq!(took(Some(Some(Duration::from_micros(65_536_000)))), "66\u{a0}s");
        assert_eq!(took(Some(None)), "over 65\u{a0}s");
    }
}
