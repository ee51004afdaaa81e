//! The parameters of a usage page.

use jiff::tz::TimeZone;

use crate::error::FieldError;
use crate::portal::kit::date_field;
use crate::portal::kit::list_query::{ListQuery, invalid_parameter};
use crate::time::{DAY, HOUR, Time};
use crate::usage::part::{Part, Sort};
use crate::usage::question::{Question, Range, RawQuestion};
use crate::web::form::{Fields, FormErrors, query};
use crate::web::problem::Problem;

/// Rows per page.
pub const PAGE: i64 = 25;
/// The preset ranges: value, days, label.
pub const RANGES: [(&str, i64, &str); 4] =
    [("24h", 1, "24 h"), ("7d", 7, "7 days"), ("30d", 30, "30 days"), ("90d", 90, "90 days")];
/// The longest custom range, in days.
const MAX_DAYS: i64 = 366;
/// The longest custom range that is shown by the hour, in days.
const HOURLY_DAYS: i64 = 3;

#[derive(Clone, Default)]
pub struct UsageParams {
    /// A preset, or `custom` for the range between two dates.
    pub range: String,
    pub from: String,
    /// A date; the range includes it.
    pub to: String,
    pub by: String,
    pub sort: String,
    pub reversed: bool,
    /// From 1.
    pub page: i64,
    /// On exports.
    pub key: String,
    pub owner: String,
    pub scope: String,
    pub model: String,
}

impl UsageParams {
    /// With invalid dates, the range is the last 30 days. Errors: 400 for any other invalid parameter.
    pub fn parse(fields: &Fields, now: Time) -> Result<(UsageParams, Question, FormErrors), Problem> {
        let query = ListQuery(fields);
        let mut params = UsageParams {
            range: query.text("range")?,
            from: query.text("from")?,
            to: query.text("to")?,
            by: query.text("by")?,
            sort: query.text("sort")?,
            reversed: query.is_reversed(),
            page: query.page()?,
            key: query.text("key")?,
            owner: query.text("owner")?,
            scope: query.text("scope")?,
            model: query.text("model")?,
        };
        if params.range.is_empty() {
            params.range = "30d".to_owned();
        }
        let mut errors = Vec::new();
        let preset = RANGES.iter().find(|(name, _, _)| *name == params.range);
        let range = match preset {
            Some((_, days, _)) => Range::last(*days, now),
            None if params.range == "custom" => custom(&mut params, now, &mut errors),
            None => return Err(invalid_parameter("range")),
        };
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let raw = RawQuestion {
            key: given(&params.key),
            owner: given(&params.owner),
            scope: given(&params.scope),
            model: given(&params.model),
            ..RawQuestion::default()
        };
        let mut question = raw
            .check(now)
            .map_err(|errors| invalid_parameter(errors.first().map_or("", |error| error.field)))?;
        question.range = range;
        Ok((params, question, FormErrors(errors)))
    }

    /// The rows of the page.
    pub fn part(&self) -> Result<Part, Problem> {
        let sort = match self.sort.as_str() {
            "" | "requests" => Sort::Requests,
            "tokens" => Sort::Tokens,
            "failed" => Sort::Failed,
            "limited" => Sort::Limited,
            _ => return Err(invalid_parameter("sort")),
        };
        Ok(Part { sort, reversed: self.reversed, offset: (self.page - 1) * PAGE, limit: PAGE })
    }

    /// The parameters with some changed.
    pub fn query(&self, changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let page = if self.page > 1 { self.page.to_string() } else { String::new() };
        let reversed = if self.reversed { "reversed" } else { "" };
        let own = [
            ("range", self.range.as_str()),
            ("from", &self.from),
            ("to", &self.to),
            ("by", &self.by),
            ("sort", &self.sort),
            ("dir", reversed),
            ("page", &page),
            ("key", &self.key),
            ("owner", &self.owner),
            ("scope", &self.scope),
            ("model", &self.model),
        ];
        query(&own, changes)
    }

    /// The parameters with another range.
    pub fn range_query(&self, range: &str) -> Vec<(String, String)> {
        self.query(&[("range", range), ("from", ""), ("to", ""), ("page", "")])
    }

    /// Whether any filter is set.
    pub fn is_filtered(&self) -> bool {
        !(self.owner.is_empty() && self.scope.is_empty() && self.model.is_empty())
    }
}

/// The range between two dates in UTC; the last 30 days if they are missing or invalid.
fn custom(params: &mut UsageParams, now: Time, errors: &mut Vec<FieldError>) -> Range {
    let last = Range::last(30, now);
    if params.from.is_empty() && params.to.is_empty() {
        params.from = day(last.from);
        params.to = day(now);
        return last;
    }
    let mut midnight = |field, text: &str| {
        let date = date_field::parse(text).ok();
        let midnight = date.and_then(|date| Time::start_of(date, &TimeZone::UTC));
        if midnight.is_none() {
            errors.push(FieldError::new(field, date_field::NO_DATE));
        }
        midnight
    };
    let (Some(from), Some(to)) = (midnight("from", &params.from), midnight("to", &params.to)) else {
        return last;
    };
    let days = to.since(from) / DAY + 1;
    if days < 1 {
        errors.push(FieldError::new("to", "Choose an end date that is not before the start date."));
    } else if days > MAX_DAYS {
        errors.push(FieldError::new("from", format!("Choose at most {MAX_DAYS} days.")));
    } else if from > now {
        errors.push(FieldError::new("from", "Choose a start date that is not in the future."));
    }
    if !errors.is_empty() {
        return last;
    }
    let hourly = days <= HOURLY_DAYS && now.since(from) < crate::usage::sums::HOUR_DAYS * DAY;
    let end = to.plus(DAY);
    Range { from, to: end.min(now), width: if hourly { HOUR } else { DAY } }
}

/// A date in UTC, as `<input type=date>` expects it.
fn day(at: Time) -> String {
    at.rfc3339()[..10].to_owned()
}
