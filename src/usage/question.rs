//! What is asked of the counts. Pages, CSV and API ask by the same question, so their numbers
//! agree.

use crate::error::{Error, FieldError, Result};
use crate::id::{KeyId, UserId};
use crate::role::Reach;
use crate::scope::Scope;
use crate::text::forbidden_character;
use crate::time::{DAY, HOUR, Time};
use crate::usage::sums::HOUR_DAYS;

/// How counts are told apart in a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// Not at all.
    #[default]
    All,
    /// By key.
    Key,
    /// By the model that was asked for.
    Model,
    /// By the scope that the route needs.
    Scope,
}

/// What a report covers. Buckets are whole hours or days of UTC.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    /// Buckets that reach beyond this instant count.
    pub from: Time,
    /// Buckets that begin before this instant count.
    pub to: Time,
    /// The width of a bucket: [`HOUR`] or [`DAY`].
    pub width: i64,
}

/// Which counts; all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those of this key.
    pub key: Option<KeyId>,
    /// Only those of the keys that this person owns now.
    pub owner: Option<UserId>,
    /// These keys of that person, where they were looked up.
    pub owned: Option<Vec<KeyId>>,
    /// Only calls of routes that need this scope.
    pub scope: Option<Scope>,
    /// Only calls that asked for this model.
    pub model: Option<String>,
}

impl Filter {
    /// Narrows it to what someone may see: who sees their own keys alone asks for those, whatever
    /// else is asked. Errors: `NotFound` where somebody else's are asked for.
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

    /// Whether the counts of all keys together serve.
    pub fn is_of_all_keys(&self) -> bool {
        self.key.is_none() && self.owner.is_none()
    }
}

/// A question to the counts.
#[derive(Clone, Debug)]
pub struct Question {
    /// Of when.
    pub range: Range,
    /// Of what.
    pub filter: Filter,
    /// How told apart.
    pub group: Group,
}

/// A question as it is asked, by the names of the API; what is `None` was left out.
#[derive(Clone, Debug, Default)]
pub struct RawQuestion {
    /// `from`.
    pub from: Option<String>,
    /// `to`.
    pub to: Option<String>,
    /// `bucket`.
    pub bucket: Option<String>,
    /// `group_by`.
    pub group_by: Option<String>,
    /// `key`.
    pub key: Option<String>,
    /// `owner`.
    pub owner: Option<String>,
    /// `scope`.
    pub scope: Option<String>,
    /// `model`.
    pub model: Option<String>,
}

impl Range {
    /// The last so many days until now: hours of the last 24, or days.
    pub fn last(days: i64, now: Time) -> Range {
        let width = if days == 1 { HOUR } else { DAY };
        Range { from: now.floor(width).plus(width - days * DAY), to: now, width }
    }

    /// The start of the first bucket.
    pub fn first(&self) -> Time {
        self.from.floor(self.width)
    }

    /// The starts of all buckets, in their order.
    pub fn buckets(&self) -> impl Iterator<Item = Time> + use<> {
        let Range { to, width, .. } = *self;
        std::iter::successors(Some(self.first()), move |start| Some(start.plus(width)))
            .take_while(move |start| *start < to)
    }

    /// The same by days, if it begins and ends with whole days or ends now: sums of days are the
    /// sums of their hours, and are fewer.
    pub fn in_days(self, now: Time) -> Range {
        let is_whole =
            self.first().floor(DAY) == self.first() && (self.to == now || self.to.floor(DAY) == self.to);
        Range { width: if is_whole { DAY } else { self.width }, ..self }
    }

    /// The same length of time before, in one or two parts. Where this range ends within a day, so
    /// does that one, by its hours as long as they are kept: a day that has just begun is not
    /// compared with a whole one.
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
    /// Checks a question; all complaints at once.
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
        let is_name = |model: &String| model.chars().count() <= 64 && !model.chars().any(forbidden_character);
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
        let told = |part: &Range| (part.from.rfc3339(), part.to.rfc3339(), part.width);
        range.before(now).iter().map(told).collect()
    }

    fn part(from: &str, to: &str, width: i64) -> (String, String, i64) {
        (format!("2026-{from}:00Z"), format!("2026-{to}:00Z"), width)
    }

    #[test]
    fn the_period_before_is_as_long_and_ends_at_the_same_hour() {
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
    fn whole_days_are_compared_with_whole_days_and_so_are_those_without_hours() {
        let now = Time::parse("2026-11-23T14:22:00Z").expect("valid");
        let midnight = |text| Time::parse(text).expect("valid");
        let (from, to) = (midnight("2026-11-10T00:00:00Z"), midnight("2026-11-14T00:00:00Z"));
        assert_eq!(parts(Range { from, to, width: DAY }, now), [part("11-06T00:00", "11-10T00:00", DAY)]);
        let from = midnight("2026-08-01T00:00:00Z");
        assert_eq!(parts(Range { from, to: now, width: DAY }, now).len(), 1);
    }
}
