//! Charts as SVG: no script, colours by CSS class, always with the numbers beside them.
//!
//! The SVG stretches to the width of the page. Labels are HTML outside of it, so that they keep their size.

use std::fmt::Write as _;

use askama::Template;

use crate::portal::kit::format;
use crate::usage::totals::Totals;

/// The height of the plot, in its own units and in pixels on a wide screen.
const HEIGHT: f64 = 208.0;
/// The gap between two parts of a bar.
const GAP: f64 = 0.8;
/// Lower parts are omitted; with a minimum height, every bar would seem to contain failures.
const LEAST: f64 = 0.6;
/// The number of horizontal lines, including the base line.
const RULES: usize = 5;
/// The largest number of labels below the bars.
const DATES: usize = 5;
/// The space for one bar, and the width of the bar in it.
const SLOT: f64 = 10.0;
const BAR: f64 = 7.0;

/// The outcomes from bottom to top, with CSS class and label.
pub const OUTCOMES: [(&str, &str); 4] = [
    ("ok", "Succeeded"),
    ("client", "Client error"),
    ("limited", "Rate limited"),
    ("server", "Server error"),
];

/// Requests over time as bars stacked by outcome, with legend, caption and table.
#[derive(Template)]
#[template(path = "portal/kit/chart.html")]
pub struct Chart {
    /// The unit of a bar, such as "day".
    pub bucket: &'static str,
    /// A summary in one sentence: range, zone, total, maximum, failures.
    pub caption: String,
    /// Each outcome with its share, for the legend.
    legend: Vec<(&'static str, &'static str, String)>,
    /// The labels of the horizontal lines, from the top.
    rules: Vec<String>,
    /// The labels below the bars, from the first to the last.
    dates: Vec<String>,
    rows: Vec<Row>,
    bars: Vec<Bar>,
    width: f64,
    empty: bool,
}

/// One bucket of a chart.
pub struct Bucket {
    /// Its short name, below the bars: "25 Oct".
    pub short: String,
    /// Its full name: "25 Oct 2026".
    pub long: String,
    pub totals: Totals,
}

struct Row {
    name: String,
    requests: String,
    parts: [String; 4],
}

struct Bar {
    title: String,
    /// CSS class and path of each visible part.
    parts: Vec<(&'static str, String)>,
}

impl askama::filters::HtmlSafe for Chart {}

impl Chart {
    /// The chart of consecutive buckets.
    pub fn new(bucket: &'static str, caption: String, buckets: &[Bucket]) -> Chart {
        let mut sum = Totals::default();
        for bucket in buckets {
            sum.add(&bucket.totals);
        }
        let most = buckets.iter().map(|bucket| bucket.totals.requests).max().unwrap_or(0);
        let top = top(most);
        let legend = OUTCOMES.iter().zip(parts(&sum));
        let rule = |place| format::axis(top * (RULES - 1 - place) as f64 / (RULES - 1) as f64);
        Chart {
            bucket,
            caption,
            legend: legend
                .map(|(&(class, word), part)| (class, word, format::share(part, sum.requests)))
                .collect(),
            rules: (0..RULES).map(rule).collect(),
            dates: dates(buckets),
            rows: buckets.iter().rev().map(Row::new).collect(),
            bars: buckets.iter().enumerate().map(|(place, bucket)| Bar::new(place, bucket, top)).collect(),
            width: buckets.len() as f64 * SLOT,
            empty: sum.requests == 0,
        }
    }
}

impl Row {
    fn new(bucket: &Bucket) -> Row {
        Row {
            name: bucket.long.clone(),
            requests: format::number(bucket.totals.requests),
            parts: parts(&bucket.totals).map(format::number),
        }
    }
}

impl Bar {
    fn new(place: usize, bucket: &Bucket, top: f64) -> Bar {
        let left = place as f64 * SLOT + (SLOT - BAR) / 2.0;
        let mut floor = HEIGHT;
        let mut outlines = Vec::new();
        let mut title =
            format!("{}: {}", bucket.long, format::count(bucket.totals.requests, "request", "requests"));
        for (&(class, word), part) in OUTCOMES.iter().zip(parts(&bucket.totals)) {
            let height = part as f64 / top * HEIGHT;
            if part > 0 && class != "ok" {
                // Writing to a String can't fail.
                let _ = write!(title, ", {} {}", word.to_lowercase(), format::number(part));
            }
            if height >= LEAST {
                // The gap reduces the upper part, so that the bar keeps its height.
                let gap = if outlines.is_empty() { 0.0 } else { GAP.min(height / 2.0) };
                let drawn = height - gap;
                outlines.push((class, format!("M{left:.1} {:.1}h{BAR}v-{drawn:.1}h-{BAR}z", floor - gap)));
            }
            floor -= height;
        }
        Bar { title, parts: outlines }
    }
}

fn parts(totals: &Totals) -> [i64; 4] {
    [totals.ok, totals.client_errors, totals.limited, totals.server_errors]
}

/// The value of the top line: the next number whose quarters are round.
fn top(most: i64) -> f64 {
    let small = [4_i32, 8, 20, 40, 80];
    if let Some(top) = small.iter().find(|top| i64::from(**top) >= most) {
        return f64::from(*top);
    }
    let mut power = 100.0;
    loop {
        if let Some(step) = [1.0, 2.0, 3.0, 5.0].into_iter().find(|step| step * power >= most as f64) {
            return step * power;
        }
        power *= 10.0;
    }
}

/// Evenly spaced names of buckets, including the first and the last.
fn dates(buckets: &[Bucket]) -> Vec<String> {
    let (shown, last) = (buckets.len().min(DATES), buckets.len().saturating_sub(1));
    (0..shown).map(|place| buckets[place * last / shown.saturating_sub(1).max(1)].short.clone()).collect()
}

/// Bars as one SVG path: each `bar` wide at a pitch of `pitch`, and `height` high for `most`. Zero is a
/// stub, and small values stay visible.
pub fn bars(values: &[i64], most: i64, pitch: usize, bar: usize, height: i64) -> String {
    let most = most.max(1);
    let mut outline = String::new();
    for (place, &value) in values.iter().enumerate() {
        let high = if value <= 0 { 1 } else { (value.min(most) * height / most).max(2) };
        // Writing to a String can't fail.
        let _ = write!(outline, "M{} {height}v-{high}h{bar}v{high}z", place * pitch + (pitch - bar) / 2);
    }
    outline
}

/// Seven bars of one week: one outline for the days before and one for today.
pub struct Spark {
    /// The days before.
    pub past: String,
    /// Today.
    pub today: String,
}

impl Spark {
    /// Bars 8 wide at a pitch of 10 in a field of 72 × 24; the last day is today.
    pub fn new(days: &[i64]) -> Spark {
        let most = days.iter().copied().max().unwrap_or(0);
        let all = bars(days, most, 10, 8, 24);
        let (past, today) = all.rsplit_once('M').unwrap_or_default();
        Spark { past: past.to_owned(), today: format!("M{today}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(day: i64, ok: i64, server_errors: i64) -> Bucket {
        let totals = Totals { requests: ok + server_errors, ok, server_errors, ..Totals::default() };
        Bucket { short: format!("{day} Nov"), long: format!("{day} Nov 2026"), totals }
    }

    #[test]
    fn highest_rule_is_the_next_round_number() {
        let cases = [
            (0, 4.0),
            (4, 4.0),
            (5, 8.0),
            (21, 40.0),
            (81, 100.0),
            (101, 200.0),
            (39_141, 50_000.0),
            (50_001, 100_000.0),
            (i64::MAX, 10_000_000_000_000_000_000.0),
        ];
        for (most, expected) in cases {
            assert!((top(most) - expected).abs() < 0.5, "{most}");
        }
    }

    #[test]
    fn chart_has_its_numbers_as_text() {
        let buckets: Vec<Bucket> = (1..=30).map(|day| bucket(day, day * 100, i64::from(day == 3))).collect();
        let chart = Chart::new("day", "Requests per day, 1 – 30 Nov (UTC).".to_owned(), &buckets);
        let text = chart.render().expect("renders");
        assert!(text.contains("<title>3 Nov 2026: 301 requests, server error 1</title>"), "{text}");
        assert!(text.contains("aria-labelledby=\"chart-caption\""));
        assert!(!text.contains("style="), "colours by class alone");
        assert_eq!(text.matches("<tr>").count(), 31);
        for date in ["1 Nov", "8 Nov", "15 Nov", "22 Nov", "30 Nov"] {
            assert!(text.contains(&format!("<span>{date}</span>")), "{date}");
        }
        // One error in 301 requests is too small to draw; the legend shows its share.
        assert!(!text.contains("<path class=\"server\""));
        assert!(text.contains("Server error"));
    }

    #[test]
    fn empty_range_says_so() {
        let chart = Chart::new("day", String::new(), &[bucket(1, 0, 0), bucket(2, 0, 0)]);
        let text = chart.render().expect("renders");
        assert!(text.contains("No requests in this period"));
        assert_eq!(Chart::new("day", String::new(), &[]).dates, Vec::<String>::new());
    }

    #[test]
    fn stacked_parts_reach_the_height_of_their_sum() {
        let totals = Totals { requests: 100, ok: 50, limited: 25, server_errors: 25, ..Totals::default() };
        let bucket = Bucket { short: String::new(), long: String::new(), totals };
        let bar = Bar::new(0, &bucket, 100.0);
        let outlines: Vec<&str> = bar.parts.iter().map(|(_, outline)| outline.as_str()).collect();
        assert_eq!(outlines, ["M1.5 208.0h7v-104.0h-7z", "M1.5 103.2h7v-51.2h-7z", "M1.5 51.2h7v-51.2h-7z"]);
    }

    #[test]
    fn spark_highlights_today_and_shows_zero_as_a_stub() {
        let spark = Spark::new(&[0, 10, 5]);
        assert_eq!(spark.past, "M1 24v-1h8v1zM11 24v-24h8v24z");
        assert_eq!(spark.today, "M21 24v-12h8v12z");
        assert_eq!(bars(&[3], 3, 4, 3, 10), "M0 10v-10h3v10z");
    }
}
