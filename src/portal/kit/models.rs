//! The field that chooses models: all, or those that are ticked or written.

use crate::catalogue::current::CurrentCatalogue;
use crate::catalogue::list::{self, ModelList};
use crate::keys::settings::ModelNames;

/// The value of the field that stands for all models.
pub const ALL: &str = "*";

/// What the field shows.
pub struct ModelChoice {
    /// Whether all models are chosen.
    pub all: bool,
    /// The models of the catalogue.
    pub offered: Vec<OfferedModel>,
    /// The currency of their prices; `None` without prices.
    pub currency: Option<String>,
    /// The chosen names and prefixes that are not offered, one per line.
    pub others: String,
}

/// A model of the catalogue that can be ticked.
pub struct OfferedModel {
    pub name: String,
    pub is_chosen: bool,
    /// Input and output per million tokens.
    pub price: Option<(String, String)>,
}

impl ModelChoice {
    /// The field with these submitted values, offering those models of the catalogue that are in `allowed`, where `None`
    /// allows all.
    pub fn new(
        values: Vec<String>,
        catalogue: &CurrentCatalogue,
        allowed: Option<&ModelList>,
    ) -> ModelChoice {
        let chosen = ModelNames::of_form(values).0;
        let all = chosen.is_none();
        let chosen = chosen.unwrap_or_default();
        let loaded = catalogue.get();
        let models = loaded.iter().flat_map(|loaded| &loaded.catalogue.models);
        let offered: Vec<OfferedModel> = models
            .filter(|model| list::allows(allowed, &model.name))
            .map(|model| OfferedModel {
                name: model.name.clone(),
                is_chosen: chosen.contains(&model.name),
                price: model.price.map(|price| (price.input.to_string(), price.output.to_string())),
            })
            .collect();
        let currency = loaded.as_ref().and_then(|loaded| loaded.catalogue.currency);
        let is_offered = |name: &&String| offered.iter().any(|model| model.name == **name);
        let others: Vec<String> = chosen.iter().filter(|name| !is_offered(name)).cloned().collect();
        ModelChoice {
            all,
            others: others.join("\n"),
            offered,
            currency: currency.map(|currency| currency.to_string()),
        }
    }

    /// The lines of the text field, so that most lists are seen whole.
    pub fn rows(&self) -> usize {
        self.others.lines().count().clamp(2, 8)
    }
}

/// A list of models as a text: "all models" for `None`, otherwise the names.
pub fn text(models: Option<&ModelList>) -> String {
    match models {
        None => "all models".to_owned(),
        Some(models) if models.names().next().is_none() => "no model".to_owned(),
        Some(models) => models.texts().join(", "),
    }
}
