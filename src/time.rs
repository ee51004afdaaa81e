//! Instants and durations as stored in the database: microseconds in a BIGINT.
//!
//! Nothing below a handler, the ticker or the command line reads the clock: `now` is an argument.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::BigInt;
use jiff::tz::{AmbiguousOffset, AmbiguousTimestamp, TimeZone};
use jiff::{Timestamp, civil};

/// A day of 86,400 seconds, in seconds.
pub const DAY: i64 = 86_400;
/// An hour in seconds.
pub const HOUR: i64 = 3_600;
/// A minute in seconds.
pub const MINUTE: i64 = 60;
const MICROS: i64 = 1_000_000;

/// An instant: microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = BigInt)]
pub struct Time(i64);

impl Time {
    /// Reads the clock. Call it only in handlers, the ticker and the command line.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub fn now() -> Time {
        Time(Timestamp::now().as_microsecond())
    }

    /// The instant `seconds` after the Unix epoch.
    pub fn from_seconds(seconds: i64) -> Time {
        Time(seconds.saturating_mul(MICROS))
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS)
    }

    /// Microseconds since the Unix epoch, as stored.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This instant without its fraction of a second. Times that people see are whole seconds.
    pub fn whole_second(self) -> Time {
        Time::from_seconds(self.seconds())
    }

    /// The start of this instant's UTC minute.
    pub fn minute(self) -> Time {
        self.floor(MINUTE)
    }

    /// The start of this instant's UTC hour.
    pub fn hour(self) -> Time {
        self.floor(HOUR)
    }

    /// This instant rounded down to a multiple of `width` seconds since the Unix epoch.
    pub fn floor(self, width: i64) -> Time {
        Time::from_seconds(self.seconds().div_euclid(width) * width)
    }

    /// The instant `microseconds` later.
    pub fn plus_microseconds(self, microseconds: i64) -> Time {
        Time(self.0.saturating_add(microseconds))
    }

    /// The instant `seconds` later (earlier if negative), saturating.
    pub fn plus(self, seconds: i64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(MICROS)))
    }

    /// Seconds from `earlier` to this instant, rounded down; negative if `earlier` is later.
    pub fn since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0).div_euclid(MICROS)
    }

    /// Parses an RFC 3339 date and time with its offset, to the second.
    pub fn parse(text: &str) -> Option<Time> {
        if !is_rfc3339(text) {
            return None;
        }
        let at: Timestamp = text.parse().ok()?;
        Some(Time(at.as_microsecond()).whole_second())
    }

    /// RFC 3339 in UTC, to the second: `2026-11-23T15:00:00Z`.
    pub fn rfc3339(self) -> String {
        self.timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// RFC 3339 in UTC, to the microsecond.
    pub fn rfc3339_micros(self) -> impl std::fmt::Display {
        self.timestamp()
    }

    /// This instant in a time zone.
    pub fn in_zone(self, zone: &TimeZone) -> jiff::ZonedDateTime {
        self.timestamp().to_zoned_datetime(zone.clone())
    }

    /// The last second of `date` in `zone`, which is when a key with that expiry date expires: the later one where
    /// clocks show it twice. Of a date that the zone skips, the last second before it.
    pub fn end_of_day(date: civil::Date, zone: &TimeZone) -> Option<Time> {
        let last = zone.to_ambiguous_timestamp(date.at(23, 59, 59, 0));
        match after_gap(&last, zone) {
            Some(jump) => Some(jump.plus(-1)),
            None => last.later().ok().map(Time::from_timestamp),
        }
    }

    /// The first second of `date` in `zone`: the earlier one where clocks show it twice. Of a date that the zone skips,
    /// the first second after it.
    pub fn start_of(date: civil::Date, zone: &TimeZone) -> Option<Time> {
        let first = zone.to_ambiguous_timestamp(date.at(0, 0, 0, 0));
        after_gap(&first, zone).or_else(|| first.earlier().ok().map(Time::from_timestamp))
    }

    /// The first second of this instant's day in `zone`.
    pub fn start_of_day(self, zone: &TimeZone) -> Time {
        Time::start_of(self.in_zone(zone).date(), zone).unwrap_or(self)
    }

    fn from_timestamp(at: Timestamp) -> Time {
        Time(at.as_microsecond())
    }

    /// The last 09:00 in `zone` that is not after this instant.
    pub fn last_morning(self, zone: &TimeZone) -> Time {
        let here = self.in_zone(zone).date();
        let days = [Ok(here), here.yesterday()].into_iter().flatten();
        let mornings = days.filter_map(|date| date.at(9, 0, 0, 0).to_zoned_datetime(zone.clone()).ok());
        let mut mornings = mornings.map(|morning| Time(morning.timestamp().as_microsecond()));
        mornings.find(|morning| *morning <= self).unwrap_or(self)
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(Timestamp::MAX)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Time
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<BigInt, DB> for Time
where
    i64: FromSql<BigInt, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        i64::from_sql(bytes).map(Time)
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.rfc3339())
    }
}

impl<'de> serde::Deserialize<'de> for Time {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        Time::parse(&text).ok_or_else(|| serde::de::Error::custom("expected an RFC 3339 time"))
    }
}

/// When clocks jumped over a local time; `None` if they showed it.
fn after_gap(local: &AmbiguousTimestamp, zone: &TimeZone) -> Option<Time> {
    if !matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
        return None;
    }
    // By the clock before the jump, the local time would have come after it; by the clock after it, before.
    let before = local.earlier().ok()?;
    zone.following(before).next().map(|jump| Time::from_timestamp(jump.timestamp()))
}

/// Whether a text has the shape of RFC 3339 section 5.6; jiff's parser accepts more.
fn is_rfc3339(text: &str) -> bool {
    let matches = |text: &[u8], pattern: &[u8]| {
        let fits = |(byte, expected): (&u8, &u8)| match expected {
            b'0' => byte.is_ascii_digit(),
            expected => byte.eq_ignore_ascii_case(expected),
        };
        text.len() == pattern.len() && text.iter().zip(pattern).all(fits)
    };
    let Some((start, rest)) = text.as_bytes().split_at_checked(19) else { return false };
    let fraction = rest
        .strip_prefix(b".")
        .map_or(0, |digits| 1 + digits.iter().take_while(|byte| byte.is_ascii_digit()).count());
    let (fraction, offset) = rest.split_at(fraction);
    let zone = match offset.first() {
        Some(b'Z' | b'z') => offset.len() == 1,
        Some(b'+' | b'-') => matches(&offset[1..], b"00:00") && &offset[1..3] < b"24".as_slice(),
        _ => false,
    };
    matches(start, b"0000-00-00T00:00:00") && fraction.len() != 1 && zone
}

/// Parses a duration such as `90d`, `24h`, `30m` or `5s` into seconds.
pub fn parse_span(text: &str) -> Option<i64> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => MINUTE,
        'h' => HOUR,
        'd' => DAY,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<i64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests;
