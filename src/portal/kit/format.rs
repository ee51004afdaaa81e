//! Formats times, numbers and statuses for pages.

use jiff::tz::TimeZone;

use crate::keys::{Key, Status};
pub use crate::text::{count, number};
use crate::time::{DAY, HOUR, MINUTE, Time};

/// A point in time, relative and exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// In RFC 3339 format, for `datetime`.
    pub iso: String,
    /// Relative, or the date if it is long ago.
    pub words: String,
    pub date: String,
    pub exact: String,
    /// Whether a script refreshes the relative time.
    pub fresh: bool,
}

impl When {
    /// An instant in the past: "2 min ago", after 30 days the date.
    pub fn past(at: Time, now: Time, zone: &TimeZone) -> When {
        let seconds = now.since(at).max(0);
        let days = seconds / DAY;
        let words = match seconds {
            _ if seconds < MINUTE => "just now".to_owned(),
            _ if seconds < HOUR => format!("{} min ago", seconds / MINUTE),
            _ if seconds < DAY => format!("{} h ago", seconds / HOUR),
            _ if days == 1 => "1 day ago".to_owned(),
            _ if days <= 30 => format!("{days} days ago"),
            _ => date(at, zone),
        };
        When { words, fresh: days <= 30, ..When::exactly(at, zone) }
    }

    /// An instant ahead: "tomorrow", "in 7 days", from two years on "in 2 years". Days are counted by the calendar.
    pub fn ahead(at: Time, now: Time, zone: &TimeZone) -> When {
        let seconds = at.since(now);
        let today = now.in_zone(zone).date();
        let days = i64::from(at.in_zone(zone).date().since(today).map_or(0, |span| span.get_days()));
        let words = match seconds {
            _ if seconds < MINUTE => "in less than a minute".to_owned(),
            _ if seconds < HOUR => format!("in {} min", seconds / MINUTE),
            _ if days == 0 => format!("in {} h", seconds / HOUR),
            _ if days == 1 => "tomorrow".to_owned(),
            // Thousands of days are hard to read and too long for phones.
            _ if days >= 730 => format!("in {} years", days / 365),
            _ => format!("in {days} days"),
        };
        When { words, ..When::exactly(at, zone) }
    }

    fn exactly(at: Time, zone: &TimeZone) -> When {
        When {
            iso: at.rfc3339(),
            words: String::new(),
            date: date(at, zone),
            exact: exact(at, zone),
            fresh: false,
        }
    }
}

/// "30 Nov 2026".
pub fn date(at: Time, zone: &TimeZone) -> String {
    at.in_zone(zone).strftime("%-d %b %Y").to_string()
}

/// "30 Nov 2026, 23:59".
pub fn date_time(at: Time, zone: &TimeZone) -> String {
    at.in_zone(zone).strftime("%-d %b %Y, %H:%M").to_string()
}

/// "14:22".
pub fn clock(at: Time, zone: &TimeZone) -> String {
    at.in_zone(zone).strftime("%H:%M").to_string()
}

fn exact(at: Time, zone: &TimeZone) -> String {
    at.in_zone(zone).strftime("%-d %b %Y, %H:%M:%S %Z").to_string()
}

/// A number with at most three digits: "412 M", "61.2 M", "12 k"; small numbers in full.
pub fn short(of: i64) -> String {
    let (value, unit) = match of {
        _ if of < 10_000 => return number(of),
        _ if of < 1_000_000 => (of as f64 / 1e3, "k"),
        _ if of < 1_000_000_000 => (of as f64 / 1e6, "M"),
        _ => (of as f64 / 1e9, "G"),
    };
    // Rounded down, so that 999,999 is not shown as 1,000 k.
    let digits = if unit == "k" || value >= 100.0 { 0 } else { 1 };
    let scale = f64::from(10_i32.pow(digits));
    format!("{:.*}\u{a0}{unit}", digits as usize, (value * scale).floor() / scale)
}

/// A label of a chart's axis: "37.5k", "50k".
pub fn axis(value: f64) -> String {
    let (value, unit) = match value {
        _ if value >= 1e9 => (value / 1e9, "G"),
        _ if value >= 1e6 => (value / 1e6, "M"),
        _ if value >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{value}{unit}")
}

/// A share: "2.6 %". Only nothing is "0.0 %", and only everything is "100 %".
pub fn share(part: i64, whole: i64) -> String {
    if part == 0 || whole == 0 {
        return "0\u{a0}%".to_owned();
    }
    if part == whole {
        return "100\u{a0}%".to_owned();
    }
    let tenths = (part as f64 * 1_000.0 / whole as f64).round();
    if tenths < 1.0 {
        return "under 0.1\u{a0}%".to_owned();
    }
    format!("{:.1}\u{a0}%", tenths.min(999.0) / 10.0)
}

/// The badge of a status: icon and word, never colour alone.
#[derive(Clone, Copy, Debug)]
pub struct Badge {
    /// The CSS class.
    pub class: &'static str,
    /// The icon; empty for the dot that the style sheet draws.
    pub icon: &'static str,
    pub label: &'static str,
}

impl Badge {
    /// The badge of a key with an open rotation.
    pub const ROTATING: Badge = Badge { class: "rotating", icon: "refresh-cw", label: "Rotating" };

    pub fn of(status: Status) -> Badge {
        let (icon, label) = match status {
            Status::Active => ("", "Active"),
            Status::Expiring => ("clock", "Expiring"),
            Status::Disabled => ("pause", "Disabled"),
            Status::Expired => ("timer-off", "Expired"),
            Status::Revoked => ("ban", "Revoked"),
        };
        Badge { class: status.name(), icon, label }
    }
}

/// The time of a key's expiry or revocation.
pub fn ending(key: &Key, now: Time, zone: &TimeZone) -> Option<When> {
    match (&key.revoked, key.expires_at) {
        (Some(revocation), _) => {
            Some(When { words: "revoked".into(), ..When::past(revocation.at, now, zone) })
        }
        (None, Some(end)) if end <= now => Some(When::past(end, now, zone)),
        (None, Some(end)) => Some(When::ahead(end, now, zone)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_204), "1,204");
        assert_eq!(number(1_000_000), "1,000,000");
        assert_eq!(count(1, "key", "keys"), "1 key");
        assert_eq!(count(2, "key", "keys"), "2 keys");
    }

    #[test]
    fn large_numbers_are_shortened() {
        let cases = [
            (9_999, "9,999"),
            (12_345, "12\u{a0}k"),
            (999_999, "999\u{a0}k"),
            (1_100_000, "1.1\u{a0}M"),
            (61_290_000, "61.2\u{a0}M"),
            (412_000_000, "412\u{a0}M"),
            (1_500_000_000, "1.5\u{a0}G"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
        assert_eq!([axis(37_500.0), axis(50_000.0), axis(0.0), axis(1e6)], ["37.5k", "50k", "0", "1M"]);
    }

    #[test]
    fn share_is_zero_or_full_only_if_exact() {
        let cases = [
            (0, 10, "0\u{a0}%"),
            (0, 0, "0\u{a0}%"),
            (10, 10, "100\u{a0}%"),
            (1, 1_000_000, "under 0.1\u{a0}%"),
            (999_999, 1_000_000, "99.9\u{a0}%"),
            (26, 1_000, "2.6\u{a0}%"),
        ];
        for (part, whole, expected) in cases {
            assert_eq!(share(part, whole), expected);
        }
    }

    #[test]
    fn times_are_relative_to_the_reader_and_rounded_down() {
        let zone = TimeZone::get("Europe/Berlin").expect("bundled");
        let now = Time::parse("2026-11-23T14:22:00Z").expect("valid");
        let past = |seconds: i64| When::past(now.plus(-seconds), now, &zone).words;
        assert_eq!(past(59), "just now");
        assert_eq!(past(119), "1 min ago");
        assert_eq!(past(3 * HOUR), "3 h ago");
        assert_eq!(past(12 * DAY), "12 days ago");
        assert_eq!(past(31 * DAY), "23 Oct 2026");
        let ahead = |seconds: i64| When::ahead(now.plus(seconds), now, &zone).words;
        assert_eq!(ahead(5 * HOUR), "in 5 h");
        assert_eq!(ahead(10 * HOUR), "tomorrow");
        assert_eq!(ahead(7 * DAY), "in 7 days");
        assert_eq!(ahead(729 * DAY), "in 729 days");
        assert_eq!(ahead(3000 * DAY), "in 8 years");
        assert_eq!(date_time(now, &zone), "23 Nov 2026, 15:22");
    }
}
