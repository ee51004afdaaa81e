//! What the URL of the audit trail asks for, and the URLs of the same view with something changed.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::audit::list::{Filter, Part};
use crate::error::FieldError;
use crate::time::{DAY, Time};
use crate::web::form::{Complaints, Fields, query};
use crate::web::problem::{Code, Problem};

/// How many entries a page shows.
pub const PAGE: i64 = 50;

/// The ranges that can be chosen: value, words, days.
pub const RANGES: [(&str, &str, i64); 4] = [
    ("24h", "Last 24 hours", 1),
    ("7d", "Last 7 days", 7),
    ("30d", "Last 30 days", 30),
    ("90d", "Last 90 days", 90),
];
/// The range whose ends are dates of their own.
pub const CUSTOM: &str = "custom";

/// What the URL asks for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// `q`.
    pub q: String,
    /// `kind`: an action, or what comes before its point.
    pub kind: String,
    /// `actor`.
    pub actor: String,
    /// `target`.
    pub target: String,
    /// `range`.
    pub range: String,
    /// `from`, a date.
    pub from: String,
    /// `to`, a date.
    pub to: String,
    /// `before` or `after`, an entry's place.
    pub part: Option<Part>,
}

impl Asked {
    /// Reads a query string; what does not exist is refused by its name. What is wrong with chosen
    /// dates is told with all times in their place. The filter lacks what is looked up in the
    /// database: the search and the actions of a kind.
    pub fn parse(
        fields: &Fields,
        now: Time,
        zone: &TimeZone,
    ) -> Result<(Asked, Filter, Complaints), Problem> {
        let text = |name: &str| {
            let text = fields.get(name).trim();
            let odd = text.chars().count() > 200 || text.chars().any(char::is_control);
            if odd { Err(wrong(name)) } else { Ok(text.to_owned()) }
        };
        let place = |name: &str| match fields.get(name) {
            "" => Ok(None),
            text => text.parse().ok().filter(|place| *place >= 0).map(Some).ok_or_else(|| wrong(name)),
        };
        let part = match (place("before")?, place("after")?) {
            (Some(place), _) => Some(Part::Before(place)),
            (None, Some(place)) => Some(Part::After(place)),
            (None, None) => None,
        };
        let asked = Asked {
            q: text("q")?,
            kind: text("kind")?,
            actor: text("actor")?,
            target: text("target")?,
            range: text("range")?,
            from: text("from")?,
            to: text("to")?,
            part,
        };
        let mut errors = Vec::new();
        let (from, to) = asked.range(now, zone, &mut errors)?;
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let filter =
            Filter { actor: some(&asked.actor), target: some(&asked.target), from, to, ..Filter::default() };
        Ok((asked, filter, Complaints(errors)))
    }

    fn range(
        &self,
        now: Time,
        zone: &TimeZone,
        errors: &mut Vec<FieldError>,
    ) -> Result<(Option<Time>, Option<Time>), Problem> {
        if let Some((_, _, days)) = RANGES.iter().find(|(value, _, _)| *value == self.range) {
            return Ok((Some(now.plus(-days * DAY)), None));
        }
        if self.range.is_empty() {
            return Ok((None, None));
        }
        if self.range != CUSTOM {
            return Err(wrong("range"));
        }
        let mut end_of = |field, text: &str| {
            let date: Option<Date> = text.parse().ok().filter(|_| text.len() == 10);
            let end = date.and_then(|date| Time::end_of_day(date, zone));
            if end.is_none() && !text.is_empty() {
                errors.push(FieldError::new(field, "Choose a day, such as 2026-11-23."));
            }
            end
        };
        let from = end_of("from", &self.from).map(|end| end.start_of_day(zone));
        // The day itself is in.
        let to = end_of("to", &self.to).map(|end| end.plus(1));
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            errors.push(FieldError::new("to", "Choose an end that is not before the beginning."));
        }
        Ok(if errors.is_empty() { (from, to) } else { (None, None) })
    }

    /// Whether it narrows the list.
    pub fn is_filtered(&self) -> bool {
        [&self.q, &self.kind, &self.actor, &self.target, &self.range].iter().any(|text| !text.is_empty())
    }

    /// Whether the ends of the range are dates of their own.
    pub fn is_custom(&self) -> bool {
        self.range == CUSTOM
    }

    /// The same view with some parameters changed, from its newest entry on.
    pub fn query(&self, changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let (from, to) = if self.is_custom() { (&*self.from, &*self.to) } else { ("", "") };
        let own = [
            ("q", &*self.q),
            ("kind", &self.kind),
            ("actor", &self.actor),
            ("target", &self.target),
            ("range", &self.range),
            ("from", from),
            ("to", to),
            ("before", ""),
            ("after", ""),
        ];
        query(&own, changes)
    }
}

fn wrong(name: &str) -> Problem {
    let detail = format!(
        "The address asks for something that does not exist: {name}. Go back to the audit trail and choose again."
    );
    Problem::new(Code::InvalidRequest, detail)
}
