//! The input of the setting `models`.

use std::convert::Infallible;
use std::str::FromStr;

use serde::Deserialize;
use utoipa::openapi::schema::{ArrayBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::catalogue::list::{MAX_MODELS, ModelList};
use crate::keys::settings::values::FormInput;

/// Names of models as they were sent, not checked yet; `None` for all that the organisation's policy allows.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ModelNames(pub Option<Vec<String>>);

impl ModelNames {
    /// The names in the values of a form's field. A form submits `*` for all models, and otherwise names that are
    /// written like the entries of a list.
    pub fn of_form(values: Vec<String>) -> ModelNames {
        let names: Vec<String> = FormInput::read(values);
        ModelNames(if names.iter().any(|name| name == "*") { None } else { Some(names) })
    }

    /// Checks the names. The error says what to do.
    pub fn check(self) -> Result<Option<ModelList>, String> {
        self.0.map(|names| ModelList::check(&names)).transpose()
    }
}

impl FormInput for ModelNames {
    fn read(texts: Vec<String>) -> ModelNames {
        ModelNames::of_form(texts)
    }
}

impl FromStr for ModelNames {
    type Err = Infallible;

    /// Reads the value of an option: names, separated by commas.
    fn from_str(text: &str) -> Result<ModelNames, Infallible> {
        Ok(ModelNames(Some(text.split(',').map(|name| name.trim().to_owned()).collect())))
    }
}

impl PartialSchema for ModelNames {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
            .items(ObjectBuilder::new().schema_type(Type::String))
            .min_items(Some(1))
            .max_items(Some(MAX_MODELS))
            .build()
            .into()
    }
}

impl ToSchema for ModelNames {}
