//! The catalogue that is in effect. It can be replaced while the server runs.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::catalogue::file::{self, CatalogueError};
use crate::catalogue::{Catalogue, Model, ModelServer};
use crate::time::Time;

/// The most names in the description of a difference.
const MAX_NAMES: usize = 20;

/// A catalogue and when it was read.
#[derive(Debug)]
pub struct LoadedCatalogue {
    pub catalogue: Catalogue,
    pub read_at: Time,
}

/// The catalogue in effect, if one is configured. A request takes it once and uses it to its end.
pub struct CurrentCatalogue {
    file: Option<PathBuf>,
    loaded: ArcSwapOption<LoadedCatalogue>,
    environment: fn(&str) -> Option<String>,
}

impl Default for CurrentCatalogue {
    /// No catalogue.
    fn default() -> CurrentCatalogue {
        CurrentCatalogue { file: None, loaded: ArcSwapOption::empty(), environment: |_| None }
    }
}

impl CurrentCatalogue {
    /// Reads the catalogue in `file`, and the variables that it names.
    pub fn open(
        file: Option<PathBuf>,
        environment: fn(&str) -> Option<String>,
        now: Time,
    ) -> Result<CurrentCatalogue, CatalogueError> {
        let loaded = match &file {
            Some(file) => {
                let catalogue = file::load(file, &environment)?;
                Some(Arc::new(LoadedCatalogue { catalogue, read_at: now }))
            }
            None => None,
        };
        Ok(CurrentCatalogue { file, loaded: ArcSwapOption::new(loaded), environment })
    }

    /// The catalogue in effect; `None` if none is configured.
    pub fn get(&self) -> Option<Arc<LoadedCatalogue>> {
        self.loaded.load_full()
    }

    /// Reads the file again, and returns what has changed. On an error, the previous catalogue stays in effect.
    /// Does nothing if no catalogue is configured.
    pub fn reload(&self, now: Time) -> Result<Option<Difference>, CatalogueError> {
        let Some(file) = &self.file else { return Ok(None) };
        let catalogue = file::load(file, &self.environment)?;
        let before = self.loaded.swap(Some(Arc::new(LoadedCatalogue { catalogue, read_at: now })));
        let after = self.get();
        Ok(before.zip(after).map(|(before, after)| Difference::between(&before.catalogue, &after.catalogue)))
    }
}

/// The names of what differs between two catalogues.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub added_models: Vec<String>,
    pub removed_models: Vec<String>,
    /// Models with other upstreams, limits or prices.
    pub changed_models: Vec<String>,
    /// Upstreams that were added, removed or changed.
    pub changed_upstreams: Vec<String>,
}

impl Difference {
    fn between(before: &Catalogue, after: &Catalogue) -> Difference {
        let names =
            |models: &mut dyn Iterator<Item = &Model>| models.map(|model| model.name.clone()).collect();
        let is_changed = |model: &&Model| {
            let previous = before.model(&model.name);
            let is_repriced = model.price.is_some() && before.currency != after.currency;
            previous.is_some_and(|previous| previous != *model || is_repriced)
        };
        let only_in = |one: &[ModelServer], two: &[ModelServer]| -> Vec<String> {
            one.iter().filter(|server| !two.contains(server)).map(|server| server.name.clone()).collect()
        };
        let mut changed_upstreams = only_in(&before.servers, &after.servers);
        changed_upstreams.extend(only_in(&after.servers, &before.servers));
        changed_upstreams.sort();
        changed_upstreams.dedup();
        Difference {
            added_models: names(&mut after.models.iter().filter(|model| before.model(&model.name).is_none())),
            removed_models: names(
                &mut before.models.iter().filter(|model| after.model(&model.name).is_none()),
            ),
            changed_models: names(&mut after.models.iter().filter(is_changed)),
            changed_upstreams,
        }
    }

    /// One line for the log, such as `models added: gpt-5; upstreams changed: openai`.
    pub fn summary(&self) -> String {
        let parts = [
            ("models added", &self.added_models),
            ("models removed", &self.removed_models),
            ("models changed", &self.changed_models),
            ("upstreams changed", &self.changed_upstreams),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", list(names)))
            .collect();
        if parts.is_empty() { "nothing changed".to_owned() } else { parts.join("; ") }
    }
}

/// The first names, and how many more there are.
fn list(names: &[String]) -> String {
    let shown = names[..names.len().min(MAX_NAMES)].join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

    use super::*;

    const FIRST: &str = "currency = \"USD\"\n[[upstream]]\nname = \"one\"\nkind = \"openai\"\nurl = \"https://one.example/v1\"\n\
        [[model]]\nname = \"a\"\nupstreams = [\"one\"]\nprice = { input = \"1\", output = \"2\" }\n\
        [[model]]\nname = \"b\"\nupstreams = [\"one\"]\n";

    #[test]
    fn reload_reports_what_changed_and_keeps_the_old_catalogue_on_errors() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("models.toml");
        std::fs::write(&file, FIRST).unwrap();
        let current = CurrentCatalogue::open(Some(file.clone()), |_| None, Time::from_seconds(1)).unwrap();
        let reload = |text: &str| {
            std::fs::write(&file, text).unwrap();
            current.reload(Time::from_seconds(2)).map(|difference| difference.unwrap().summary())
        };
        assert!(reload("[[model]]\nname = 5").is_err());
        assert_eq!(current.get().unwrap().read_at, Time::from_seconds(1));
        assert_eq!(reload(FIRST).unwrap(), "nothing changed");
        assert_eq!(current.get().unwrap().read_at, Time::from_seconds(2));
        let second =
            FIRST.replace("\"2\"", "\"3\"").replace("\"b\"", "\"c\"").replace("one.example", "two.example");
        assert_eq!(
            reload(&second).unwrap(),
            "models added: c; models removed: b; models changed: a; upstreams changed: one"
        );
        assert_eq!(reload(&second.replace("USD", "EUR")).unwrap(), "models changed: a");
    }

    #[test]
    fn without_a_file_there_is_nothing_to_reload() {
        let current = CurrentCatalogue::open(None, |_| None, Time::from_seconds(1)).unwrap();
        assert!(current.get().is_none());
        assert_eq!(current.reload(Time::from_seconds(2)).unwrap(), None);
    }

    #[test]
    fn a_long_list_is_cut() {
        let names: Vec<String> = (0..22).map(|number| format!("m{number}")).collect();
        assert!(list(&names).ends_with("m19 and 2 more"));
    }
}
