//! Lists of models, which restrict what a key or a member may call.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::serialize::{self, Output, ToSql};
use diesel::sql_types::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalogue::{Catalogue, MAX_MODEL_NAME};
use crate::text::is_forbidden;

/// The most names of a list.
pub const MAX_MODELS: usize = 100;

/// Names of models, and prefixes that end in `*`. An empty list allows nothing.
///
/// Stored as one text, separated by line breaks, because many keys are held in memory.
#[derive(Clone, Debug, PartialEq, Eq, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct ModelList(Box<str>);

impl ModelList {
    /// Checks 1 to [`MAX_MODELS`] names or prefixes, and drops repetitions. The error says what to do.
    pub fn check(names: &[String]) -> Result<ModelList, String> {
        if !(1..=MAX_MODELS).contains(&names.len()) {
            return Err(format!("Name 1 to {MAX_MODELS} models."));
        }
        if let Some(wrong) = names.iter().find(|name| !is_name_or_prefix(name)) {
            let shown: String = wrong.chars().filter(|letter| !is_forbidden(*letter)).take(60).collect();
            return Err(format!(
                "\"{shown}\" is not the name of a model. Use names such as gpt-4, or prefixes that end in *, such as gpt-*."
            ));
        }
        Ok(ModelList::new(names.iter().map(String::as_str)))
    }

    fn new<'a>(names: impl Iterator<Item = &'a str>) -> ModelList {
        let mut kept: Vec<&str> = Vec::new();
        for name in names {
            if !kept.contains(&name) {
                kept.push(name);
            }
        }
        ModelList(kept.join("\n").into())
    }

    /// The names and prefixes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('\n').filter(|name| !name.is_empty())
    }

    /// The names and prefixes as texts.
    pub fn texts(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    /// Whether the list allows a model.
    pub fn allows(&self, model: &str) -> bool {
        self.names().any(|name| match name.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix),
            None => model == name,
        })
    }

    /// The names that a catalogue does not have. Prefixes are not looked up.
    pub fn unknown_in<'a>(&'a self, catalogue: &Catalogue) -> Vec<&'a str> {
        self.names().filter(|name| !name.ends_with('*') && catalogue.model(name).is_none()).collect()
    }

    /// Whether the list covers a name or prefix completely.
    pub fn covers(&self, name: &str) -> bool {
        self.names().any(|own| is_covered(own, name))
    }
}

/// Whether one name or prefix allows everything that another one does.
fn is_covered(own: &str, other: &str) -> bool {
    own.strip_suffix('*')
        .map_or(own == other, |prefix| other.strip_suffix('*').unwrap_or(other).starts_with(prefix))
}

fn is_name_or_prefix(text: &str) -> bool {
    let name = text.strip_suffix('*').unwrap_or(text);
    let is_wrong =
        |letter: char| letter.is_whitespace() || is_forbidden(letter) || matches!(letter, ',' | '*');
    !text.is_empty() && name.len() <= MAX_MODEL_NAME && !name.contains(is_wrong)
}

/// Whether a model is allowed, where `None` allows all.
pub fn allows(list: Option<&ModelList>, model: &str) -> bool {
    list.is_none_or(|list| list.allows(model))
}

/// Whether `after` allows something that `before` did not, where `None` allows all.
pub fn reaches_further(after: Option<&ModelList>, before: Option<&ModelList>) -> bool {
    match (after, before) {
        (_, None) => false,
        (None, Some(before)) => !before.covers("*"),
        (Some(after), Some(before)) => !after.names().all(|name| before.covers(name)),
    }
}

/// What both lists allow, where `None` allows all.
pub fn in_both(one: Option<&ModelList>, other: Option<&ModelList>) -> Option<ModelList> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other).cloned() };
    let narrow = one.names().filter(|name| other.covers(name));
    let wide = other.names().filter(|name| one.covers(name));
    Some(ModelList::new(narrow.chain(wide)))
}

/// What either list allows, where `None` allows all.
pub fn in_either(one: Option<&ModelList>, other: Option<&ModelList>) -> Option<ModelList> {
    one.zip(other)
        .map(|(one, other)| ModelList::new(one.names().chain(other.names().filter(|name| !one.covers(name)))))
}

/// The first names in quotes, for a message, and how many more there are.
pub fn brief(names: &[&str]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("\"{name}\"")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

impl Serialize for ModelList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for ModelList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ModelList, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Ok(ModelList::new(names.iter().map(String::as_str)))
    }
}

impl<DB: Backend> ToSql<Text, DB> for ModelList
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        self.0.to_sql(out)
    }
}

impl<DB: Backend> FromSql<Text, DB> for ModelList
where
    String: FromSql<Text, DB>,
{
    fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(ModelList(String::from_sql(bytes)?.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

    use super::*;

    fn list(names: &str) -> Option<ModelList> {
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        (names != ["all"]).then(|| ModelList::check(&names).unwrap())
    }

    #[test]
    fn names_are_exact_and_prefixes_open() {
        let list = list("gpt-4 claude-* org/m");
        for (model, allowed) in [
            ("gpt-4", true),
            ("gpt-4o", false),
            ("GPT-4", false),
            ("claude-", true),
            ("claude-sonnet", true),
            ("claude", false),
            ("org/m", true),
            ("", false),
            ("claude-*", true),
            ("gpt-4\nclaude-x", false),
        ] {
            assert_eq!(allows(list.as_ref(), model), allowed, "{model}");
        }
        assert!(allows(None, "anything"));
        assert!(allows(ModelList::check(&["*".to_owned()]).ok().as_ref(), "anything"));
    }

    #[test]
    fn lists_compare_by_what_they_allow() {
        for (before, after, further) in [
            ("all", "all", false),
            ("all", "a", false),
            ("a", "all", true),
            ("*", "all", false),
            ("a b", "a", false),
            ("a", "a b", true),
            ("a*", "ab abc*", false),
            ("ab*", "a*", true),
            ("a*", "a", false),
            ("a", "a*", true),
        ] {
            assert_eq!(
                reaches_further(list(after).as_ref(), list(before).as_ref()),
                further,
                "{before} {after}"
            );
        }
    }

    #[test]
    fn intersection_and_union_allow_exactly_what_both_or_either_do() {
        let lists = ["all", "*", "a", "a*", "ab*", "b c", "ab abc", "a* b"].map(list);
        for one in &lists {
            for other in &lists {
                let (both, either) =
                    (in_both(one.as_ref(), other.as_ref()), in_either(one.as_ref(), other.as_ref()));
                for model in ["a", "ab", "abc", "abcd", "b", "c", "d"] {
                    let (first, second) = (allows(one.as_ref(), model), allows(other.as_ref(), model));
                    assert_eq!(allows(both.as_ref(), model), first && second, "{one:?} {other:?} {model}");
                    assert_eq!(allows(either.as_ref(), model), first || second, "{one:?} {other:?} {model}");
                }
            }
        }
        assert_eq!(in_both(list("a").as_ref(), list("b").as_ref()).unwrap().texts(), Vec::<String>::new());
    }

    #[test]
    fn lists_of_other_sizes_or_with_other_names_are_refused() {
        let check = |names: &[&str]| {
            ModelList::check(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert!(check(&[]).is_err());
        assert!(check(&vec!["m"; MAX_MODELS]).is_ok());
        assert!(check(&vec!["m"; MAX_MODELS + 1]).is_err());
        assert_eq!(check(&["a", "b", "a"]).unwrap().texts(), ["a", "b"]);
        let (long, longer) = ("m".repeat(MAX_MODEL_NAME), "m".repeat(10_000));
        assert!(check(&[&long]).is_ok());
        for wrong in ["", "g*t", "**", "a b", " a", "a,b", "a\0", "a\nb", "\u{200B}", "*a", &longer] {
            assert!(check(&[wrong]).is_err(), "{wrong:?}");
        }
    }
}
