//! What the URL of a usage page asks for, and the URLs of the same view with something changed.

use jiff::civil;

use crate::error::FieldError;
use crate::time::{DAY, HOUR, Time};
use crate::usage::part::{Part, Sort};
use crate::usage::question::{Question, Range, RawQuestion};
use crate::web::form::{Complaints, Fields, query};
use crate::web::problem::{Code, Problem};

/// How many rows a table shows.
pub const PAGE: i64 = 25;
/// The ranges that are offered, with their days and words.
pub const RANGES: [(&str, i64, &str); 4] =
    [("24h", 1, "24 h"), ("7d", 7, "7 days"), ("30d", 30, "30 days"), ("90d", 90, "90 days")];
/// The longest range that can be chosen, in days.
const MAX_DAYS: i64 = 366;
/// The longest chosen range that is shown by the hour, in days.
const HOURLY_DAYS: i64 = 3;

/// What the URL asks for.
#[derive(Clone, Default)]
pub struct Asked {
    /// `range`; `custom` is between two dates.
    pub range: String,
    /// `from`, a date.
    pub from: String,
    /// `to`, a date that is part of the range.
    pub to: String,
    /// `by`.
    pub by: String,
    /// `sort`.
    pub sort: String,
    /// `dir`.
    pub reversed: bool,
    /// `page`, from 1.
    pub page: i64,
    /// `key`, on exports.
    pub key: String,
    /// `owner`.
    pub owner: String,
    /// `scope`.
    pub scope: String,
    /// `model`.
    pub model: String,
}

impl Asked {
    /// Reads a query string; what does not exist is refused by its name. What is wrong with
    /// chosen dates is told with the last 30 days in their place.
    pub fn parse(fields: &Fields, now: Time) -> Result<(Asked, Question, Complaints), Problem> {
        let text = |name: &str| fields.get(name).to_owned();
        let mut asked = Asked {
            range: text("range"),
            from: text("from"),
            to: text("to"),
            by: text("by"),
            sort: text("sort"),
            reversed: fields.get("dir") == "reversed",
            page: match fields.get("page") {
                "" => 1,
                text => text
                    .parse()
                    .ok()
                    .filter(|page| (1..=1_000_000).contains(page))
                    .ok_or_else(|| wrong("page"))?,
            },
            key: text("key"),
            owner: text("owner"),
            scope: text("scope"),
            model: text("model"),
        };
        if asked.range.is_empty() {
            asked.range = "30d".to_owned();
        }
        let mut errors = Vec::new();
        let preset = RANGES.iter().find(|(name, _, _)| *name == asked.range);
        let range = match preset {
            Some((_, days, _)) => Range::last(*days, now),
            None if asked.range == "custom" => custom(&mut asked, now, &mut errors),
            None => return Err(wrong("range")),
        };
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let raw = RawQuestion {
            key: given(&asked.key),
            owner: given(&asked.owner),
            scope: given(&asked.scope),
            model: given(&asked.model),
            ..RawQuestion::default()
        };
        let mut question =
            raw.check(now).map_err(|errors| wrong(errors.first().map_or("", |error| error.field)))?;
        question.range = range;
        Ok((asked, question, Complaints(errors)))
    }

    /// The part of a table that is shown.
    pub fn part(&self) -> Result<Part, Problem> {
        let sort = match self.sort.as_str() {
            "" | "requests" => Sort::Requests,
            "tokens" => Sort::Tokens,
            "failed" => Sort::Failed,
            "limited" => Sort::Limited,
            _ => return Err(wrong("sort")),
        };
        Ok(Part { sort, reversed: self.reversed, offset: (self.page - 1) * PAGE, limit: PAGE })
    }

    /// The same view with some parameters changed.
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

    /// The same view over another range.
    pub fn range_query(&self, range: &str) -> Vec<(String, String)> {
        self.query(&[("range", range), ("from", ""), ("to", ""), ("page", "")])
    }

    /// Whether it narrows the view to some calls.
    pub fn is_filtered(&self) -> bool {
        !(self.owner.is_empty() && self.scope.is_empty() && self.model.is_empty())
    }
}

/// The range between two chosen dates of UTC; the last 30 days where none are chosen yet or
/// they are wrong.
fn custom(asked: &mut Asked, now: Time, errors: &mut Vec<FieldError>) -> Range {
    let last = Range::last(30, now);
    if asked.from.is_empty() && asked.to.is_empty() {
        asked.from = day(last.from);
        asked.to = day(now);
        return last;
    }
    let mut midnight = |field, text: &str| {
        let date: Option<civil::Date> = text.parse().ok();
        let midnight =
            date.filter(|_| text.len() == 10).and_then(|date| Time::parse(&format!("{date}T00:00:00Z")));
        if midnight.is_none() {
            errors.push(FieldError::new(field, "Choose a day, such as 2026-11-23."));
        }
        midnight
    };
    let (Some(from), Some(to)) = (midnight("from", &asked.from), midnight("to", &asked.to)) else {
        return last;
    };
    let days = to.since(from) / DAY + 1;
    if days < 1 {
        errors.push(FieldError::new("to", "Choose an end that is not before the beginning."));
    } else if days > MAX_DAYS {
        errors.push(FieldError::new("from", format!("Choose at most {MAX_DAYS} days.")));
    } else if from > now {
        errors.push(FieldError::new("from", "Choose a day that has begun."));
    }
    if !errors.is_empty() {
        return last;
    }
    let hourly = days <= HOURLY_DAYS && now.since(from) < crate::usage::sums::HOUR_DAYS * DAY;
    let end = to.plus(DAY);
    Range { from, to: end.min(now), width: if hourly { HOUR } else { DAY } }
}

/// A date of UTC as fields for dates hold it.
fn day(at: Time) -> String {
    at.rfc3339()[..10].to_owned()
}

pub(super) fn wrong(name: &str) -> Problem {
    Problem::new(
        Code::InvalidRequest,
        format!(
            "The address asks for something that does not exist: {name}. Go back to the page and choose again."
        ),
    )
}
