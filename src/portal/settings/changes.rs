//! The effect of a policy change on existing keys.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use crate::catalogue::list::ModelList;
use crate::id::KeyId;
use crate::keys::policy_effect::{Effect, Preview};
use crate::portal::kit::{format, models};
use crate::scope::Scopes;
use crate::time::Time;

/// The number of keys listed per kind of change.
const NAMED: usize = 20;
/// The period for counting requests, in days.
pub const USE_DAYS: i64 = 7;

/// The kinds of changes, with their keys.
#[derive(Default)]
pub struct Changes {
    /// Keys that would lose a scope in use.
    pub in_use: Kind,
    /// Keys that would expire earlier.
    pub earlier: Kind,
    /// The date on which all of these would expire, if it is the same.
    pub earlier_on: Option<String>,
    /// Keys that would get a lower limit.
    pub limited: Kind,
    /// Keys that could call fewer models.
    pub fewer_models: Kind,
    /// Keys that could call more models at once.
    pub more_models: Kind,
    /// Keys that would lose an unused scope.
    pub unused: Kind,
    /// Keys that would expire later than under a pending change.
    pub later: Kind,
    /// Keys that would gain scopes at once.
    pub gains: Kind,
    /// Keys that would not change.
    pub staying: i64,
}

/// Keys with the same kind of change.
#[derive(Default)]
pub struct Kind {
    pub count: i64,
    /// The first of them, for the list.
    pub lines: Vec<Line>,
}

/// A key and its change.
pub struct Line {
    pub id: KeyId,
    pub name: String,
    /// The change.
    pub what: String,
    /// Its recent requests.
    pub busy: String,
}

impl Kind {
    /// The number of keys that are not listed.
    pub fn more(&self) -> i64 {
        self.count - i64::try_from(self.lines.len()).unwrap_or(0)
    }

    fn of<'a>(
        effects: impl Iterator<Item = (&'a Effect, String)>,
        requests: impl Fn(&Effect) -> i64,
    ) -> Kind {
        let mut kind = Kind::default();
        for (effect, what) in effects {
            kind.count += 1;
            if kind.lines.len() < NAMED {
                let requests = format::count(requests(effect), "request", "requests");
                let busy = format!("{requests} in the last {USE_DAYS} days");
                kind.lines.push(Line { id: effect.id, name: effect.name.clone(), what, busy });
            }
        }
        kind
    }
}

impl Changes {
    /// The changes in a preview, with the requests of each key in the last [`USE_DAYS`] days.
    pub fn new(preview: &Preview, uses: &HashMap<KeyId, Vec<(String, i64)>>, zone: &TimeZone) -> Changes {
        let of_scopes = |effect: &Effect, scopes: Scopes| -> i64 {
            let counts = uses.get(&effect.id).into_iter().flatten();
            let of_them = counts.filter(|(scope, _)| scopes.names().contains(&scope.as_str()));
            of_them.map(|(_, requests)| requests).sum()
        };
        let all = |effect: &Effect| -> i64 {
            uses.get(&effect.id).into_iter().flatten().map(|(_, requests)| requests).sum()
        };
        let lost = |effect: &Effect| of_scopes(effect, effect.loses);
        let day = |at: Option<Time>| at.map_or_else(|| "never".to_owned(), |at| format::date(at, zone));
        let effects = &preview.effects;
        let kind = |applies: &dyn Fn(&Effect) -> bool, what: &dyn Fn(&Effect) -> String| {
            Kind::of(effects.iter().filter(|e| applies(e)).map(|e| (e, what(e))), all)
        };
        let loses = |used: bool| {
            let those = effects.iter().filter(move |e| !e.loses.is_empty() && (lost(e) > 0) == used);
            Kind::of(those.map(|e| (e, e.loses.names().join(", "))), lost)
        };
        let mut ends: Vec<Option<Time>> =
            effects.iter().filter(|e| e.ends_earlier()).map(|e| e.would_end).collect();
        ends.dedup();
        let earlier_on = match ends.as_slice() {
            [Some(one)] => Some(format::date(*one, zone)),
            _ => None,
        };
        let ending = |effect: &Effect| {
            if earlier_on.is_some() {
                format!("currently {}", day(effect.ends))
            } else {
                format!("{}, currently {}", day(effect.would_end), day(effect.ends))
            }
        };
        let limits = |effect: &Effect| {
            let (would, is) =
                (format::number(effect.would_limit.into()), format::number(effect.limit.into()));
            format!("{would} requests a minute, currently {is}")
        };
        let only = |models: &Option<Option<ModelList>>| {
            models.as_ref().map(|models| models::text(models.as_ref())).unwrap_or_default()
        };
        Changes {
            in_use: loses(true),
            unused: loses(false),
            earlier: kind(&Effect::ends_earlier, &ending),
            later: kind(&Effect::ends_later, &|e| format!("{}, currently {}", day(e.would_end), day(e.ends))),
            fewer_models: kind(&|e| e.fewer_models.is_some(), &|e| only(&e.fewer_models)),
            more_models: kind(&|e| e.more_models.is_some(), &|e| only(&e.more_models)),
            limited: kind(&|e| e.would_limit < e.limit, &limits),
            gains: kind(&|e| !e.gains.is_empty(), &|e| e.gains.names().join(", ")),
            staying: i64::try_from(preview.staying).unwrap_or(i64::MAX),
            earlier_on,
        }
    }

    /// Whether any key would lose something.
    pub fn takes(&self) -> bool {
        let models = self.fewer_models.count;
        self.in_use.count + self.earlier.count + self.limited.count + self.unused.count + models > 0
    }

    /// Whether no key would change.
    pub fn is_none(&self) -> bool {
        !self.takes() && self.later.count + self.gains.count + self.more_models.count == 0
    }
}
