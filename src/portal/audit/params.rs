//! The parameters of the audit log's list.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::audit::list::{Filter, Part};
use crate::error::FieldError;
use crate::portal::kit::date_field;
use crate::portal::kit::list_query::{ListQuery, invalid_parameter};
use crate::time::{DAY, Time};
use crate::web::form::{Fields, FormErrors, query};
use crate::web::problem::Problem;

/// Entries per page.
pub const PAGE: i64 = 50;

/// The preset ranges: value, label, days.
pub const RANGES: [(&str, &str, i64); 4] = [
    ("24h", "Last 24 hours", 1),
    ("7d", "Last 7 days", 7),
    ("30d", "Last 30 days", 30),
    ("90d", "Last 90 days", 90),
];
/// The range between two chosen dates.
pub const CUSTOM: &str = "custom";

#[derive(Clone, Debug, Default)]
pub struct ListParams {
    pub q: String,
    /// An action, or the part of one before its dot.
    pub kind: String,
    pub actor: String,
    pub target: String,
    pub range: String,
    pub from: String,
    pub to: String,
    /// The entries before or after an index.
    pub part: Option<Part>,
}

impl ListParams {
    /// With invalid dates, the range is all times. The filter lacks what is looked up in the database: the search
    /// and the actions of a kind. Errors: 400 for any other invalid parameter.
    pub fn parse(
        fields: &Fields,
        now: Time,
        zone: &TimeZone,
    ) -> Result<(ListParams, Filter, FormErrors), Problem> {
        let query = ListQuery(fields);
        let place = |name| query.choice(name, |text| text.parse().ok().filter(|place| *place >= 0));
        let part = match (place("before")?, place("after")?) {
            (Some(place), _) => Some(Part::Before(place)),
            (None, Some(place)) => Some(Part::After(place)),
            (None, None) => None,
        };
        let params = ListParams {
            q: query.text("q")?,
            kind: query.text("kind")?,
            actor: query.text("actor")?,
            target: query.text("target")?,
            range: query.text("range")?,
            from: query.text("from")?,
            to: query.text("to")?,
            part,
        };
        let mut errors = Vec::new();
        let (from, to) = params.range(now, zone, &mut errors)?;
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let filter = Filter {
            actor: some(&params.actor),
            target: some(&params.target),
            from,
            to,
            ..Filter::default()
        };
        Ok((params, filter, FormErrors(errors)))
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
            return Err(invalid_parameter("range"));
        }
        let mut instant = |field, text: &str, of: fn(Date, &TimeZone) -> Option<Time>| {
            if text.is_empty() {
                return None;
            }
            let at = date_field::parse(text).ok().and_then(|date| of(date, zone));
            if at.is_none() {
                errors.push(FieldError::new(field, date_field::NO_DATE));
            }
            at
        };
        let from = instant("from", &self.from, Time::start_of);
        // The range includes the chosen day.
        let to = instant("to", &self.to, Time::end_of_day).map(|end| end.plus(1));
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            errors.push(FieldError::new("to", "Choose an end date that is not before the start date."));
        }
        Ok(if errors.is_empty() { (from, to) } else { (None, None) })
    }

    /// Whether any filter is set.
    pub fn is_filtered(&self) -> bool {
        [&self.q, &self.kind, &self.actor, &self.target, &self.range].iter().any(|text| !text.is_empty())
    }

    /// Whether the range is between two chosen dates.
    pub fn is_custom(&self) -> bool {
        self.range == CUSTOM
    }

    /// The parameters with some changed, from the newest entry on.
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
