//! Questions to the counts. Pages, exports and the API ask the same questions, so their numbers agree.

use crate::error::{Error, FieldError, Result};
use crate::id::{KeyId, UserId};
use crate::role::Reach;
use crate::scope::Scope;
use crate::text::is_forbidden;
use crate::time::{DAY, HOUR, Time};
use crate::usage::sums::HOUR_DAYS;

/// The grouping of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// No groups.
    #[default]
    All,
    /// By key.
    Key,
    /// By requested model.
    Model,
    /// By required scope.
    Scope,
}

/// The period of a report. Buckets are whole hours or days of UTC.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Buckets that end after this instant count.
    pub from: Time,
    /// Buckets that begin before this instant count.
    pub to: Time,
    /// The width of a bucket: [`HOUR`] or [`DAY`].
    pub width: i64,
}

/// A filter of counts; all of its conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub key: Option<KeyId>,
    /// The owner of the keys now.
    pub owner: Option<UserId>,
    /// The keys of that owner, if they were looked up.
    pub owned: Option<Vec<KeyId>>,
    /// The required scope.
    pub scope: Option<Scope>,
    /// The requested model.
    pub model: Option<String>,
}

impl Filter {
    /// Narrows it to what a person may see: a person who may see only their own keys asks only about those. Error:
    /// `NotFound` for a question about another person's keys.
    pub fn narrow(&mut self, reach: Reach, person: UserId) -> Result<()> {
        match reach {
            Reach::All => Ok(()),
            Reach::Own if self.owner.is_none_or(|owner| owner == person) => {
                self.owner = Some(person);
                Ok(())
            }
            Reach::Own | Reach::No => Err(Error::NotFound),
        }
    }

    /// Whether it covers all keys, so that the totals of the organisation are enough.
    pub fn is_of_all_keys(&self) -> bool {
        self.key.is_none() && self.owner.is_none()
    }
}

/// A question to the counts.
#[derive(Clone, Debug)]
pub struct Question {
    pub range: Range,
    pub filter: Filter,
    pub group: Group,
}

/// An unchecked question, with the parameter names of the API.
#[derive(Clone, Debug, Default)]
pub struct RawQuestion {
    pub from: Option<String>,
    pub to: Option<String>,
    pub bucket: Option<String>,
    pub group_by: Option<String>,
    pub key: Option<String>,
    pub owner: Option<String>,
    pub scope: Option<String>,
    pub model: Option<String>,
}

impl Range {
    /// The last `days` days until now: by hours for one day, by days otherwise.
    pub fn last(days: i64, now: Time) -> Range {
        let width = if days == 1 { HOUR } else { DAY };
        Range { from: now.floor(width).plus(width - days * DAY), to: now, width }
    }

    /// The start of the first bucket.
    pub fn first(&self) -> Time {
        self.from.floor(self.width)
    }

    /// The starts of all buckets, in order.
    pub fn buckets(&self) -> impl Iterator<Item = Time> + use<> {
        let Range { to, width, .. } = *self;
        std::iter::successors(Some(self.first()), move |start| Some(start.plus(width)))
            .take_while(move |start| *start < to)
    }

    /// The same range by days, if it begins and ends at midnight or ends now. Days are fewer than hours, with the same
    /// sums.
    pub fn in_days(self, now: Time) -> Range {
        let is_whole =
            self.first().floor(DAY) == self.first() && (self.to == now || self.to.floor(DAY) == self.to);
        Range { width: if is_whole { DAY } else { self.width }, ..self }
    }

    /// The period of the same length before, in one or two parts. If this range ends within a day, so does that one, by
    /// hours as long as they are kept, so that a day that has just begun is not compared with a whole day.
    pub fn before(&self, now: Time) -> Vec<Range> {
        let length = i64::try_from(self.buckets().count()).unwrap_or(1) * self.width;
        let (first, end) = (self.first(), self.to.plus(-length));
        let whole = Range { from: first.plus(-length), to: first, width: self.width };
        let last = first.plus(-self.width);
        if self.width != DAY || end >= first || now.since(last) >= HOUR_DAYS * DAY {
            return vec![whole];
        }
        vec![Range { to: last, ..whole }, Range { from: last, to: end, width: HOUR }]
    }
}

impl RawQuestion {
    /// Checks a question. Errors: all invalid parameters at once.
    pub fn check(self, now: Time) -> Result<Question, Vec<FieldError>> {
        let mut errors = Vec::new();
        let range = range(&self, now, &mut errors);
        let group = match self.group_by.as_deref() {
            None => Group::All,
            Some("key") => Group::Key,
            Some("model") => Group::Model,
            Some("scope") => Group::Scope,
            Some(_) => {
                errors.push(FieldError::new("group_by", "Use key, model or scope, or leave it out."));
                Group::All
            }
        };
        let key = self.key.as_deref().map(KeyId::parse);
        if key == Some(None) {
            errors.push(FieldError::new("key", "Name a key by its id, key_…."));
        }
        let owner = self.owner.as_deref().map(UserId::parse);
        if owner == Some(None) {
            errors.push(FieldError::new("owner", "Name a person by their id, user_…."));
        }
        let scope = self.scope.as_deref().map(Scope::parse);
        if scope == Some(None) {
            errors.push(FieldError::new("scope", "There is no such scope."));
        }
        let is_name = |model: &String| model.chars().count() <= 64 && !model.chars().any(is_forbidden);
        if !self.model.as_ref().is_none_or(is_name) {
            errors.push(FieldError::new("model", "A model's name is one line of up to 64 characters."));
        }
        let filter = Filter {
            key: key.flatten(),
            owner: owner.flatten(),
            owned: None,
            scope: scope.flatten(),
            model: self.model,
        };
        if errors.is_empty() { Ok(Question { range, filter, group }) } else { Err(errors) }
    }
}

fn range(raw: &RawQuestion, now: Time, errors: &mut Vec<FieldError>) -> Range {
    let mut time = |field, text: Option<&str>, default| match text.map(Time::parse) {
        Some(None) => {
            errors.push(FieldError::new(field, "Write a time as 2026-11-23T15:00:00Z."));
            default
        }
        Some(Some(time)) => time,
        None => default,
    };
    let to = time("to", raw.to.as_deref(), now);
    let from = time("from", raw.from.as_deref(), to.plus(-DAY));
    let width = match raw.bucket.as_deref() {
        None | Some("hour") => HOUR,
        Some("day") => DAY,
        Some(_) => {
            errors.push(FieldError::new("bucket", "Use hour or day."));
            HOUR
        }
    };
    if from >= to {
        errors.push(FieldError::new("from", "Begin before the end."));
    } else if width == HOUR && now.since(from) > HOUR_DAYS * DAY {
        let message = format!("Hours are kept for {HOUR_DAYS} days. Ask for bucket=day.");
        errors.push(FieldError::new("from", message));
    }
    Range { from, to, width }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(range: Range, now: Time) -> Vec<(String, String, i64)> {
        let bounds = |part: &Range| (part.from.rfc3339(), part.to.rfc3339(), part.width);
        range.before(now).iter().map(bounds).collect()
    }

    fn part(from: &str, to: &str, width: i64) -> (String, String, i64) {
        (format!("2026-{from}:00Z"), format!("2026-{to}:00Z"), width)
    }

    #[test]
    fn previous_period_is_as_long_and_ends_at_the_same_hour() {
        let now = Time::parse("2026-11-23T14:22:00Z").expect("valid");
        for (days, buckets) in [(1, 24), (7, 7), (30, 30), (90, 90)] {
            assert_eq!(Range::last(days, now).buckets().count(), buckets);
        }
        assert_eq!(parts(Range::last(1, now), now), [part("11-21T15:00", "11-22T15:00", HOUR)]);
        assert_eq!(
            parts(Range::last(7, now), now),
            [part("11-10T00:00", "11-16T00:00", DAY), part("11-16T00:00", "11-16T14:22", HOUR)]
        );
    }

    #[test]
    fn whole_days_are_compared_with_whole_days() {
        let now = Time::parse("2026-11-23T14:22:00Z").expect("valid");
        let midnight = |text| Time::parse(text).expect("valid");
        let (from, to) = (midnight("2026-11-10T00:00:00Z"), midnight("2026-11-14T00:00:00Z"));
        assert_eq!(parts(Range { from, to, width: DAY }, now), [part("11-06T00:00", "11-10T00:00", DAY)]);
        let from = midnight("2026-08-01T00:00:00Z");
        assert_eq!(parts(Range { from, to: now, width: DAY }, now).len(), 1);
    }
}
