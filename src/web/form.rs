//! Form fields, kept as typed so that a refused form loses nothing.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::error::FieldError;
use crate::web::body::buffered;
pub use crate::web::pairs::{check_query, pairs, query};
use crate::web::problem::Problem;

/// The fields of a submitted form or a query, in order.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a query string; none if it can't be parsed.
    pub fn of_query(request: &HttpRequest) -> Fields {
        Fields(pairs(request.query_string().as_bytes(), "The query").unwrap_or_default())
    }

    /// The first value of that name, or empty.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether the field was sent.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Whether no field was sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces the values of a field.
    pub fn set(&mut self, name: &str, values: impl IntoIterator<Item = impl Into<String>>) {
        self.0.retain(|(field, _)| field != name);
        self.0.extend(values.into_iter().map(|value| (name.to_owned(), value.into())));
    }

    /// All names and values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }

    /// The fields of a form's body. U+0000 is refused, since PostgreSQL can't store it.
    pub fn of_body(bytes: &[u8]) -> Result<Fields, Problem> {
        let pairs = pairs(bytes, "The form")?;
        if pairs.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(Problem::bad_request("The form contains a null character (U+0000). Remove it."));
        }
        Ok(Fields(pairs))
    }

    /// All values of that name.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    }
}

impl FromRequest for Fields {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(_: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = buffered(payload.take());
        Box::pin(async move { Fields::of_body(&bytes.await?) })
    }
}

/// The errors of a form, by field, for its template.
#[derive(Clone, Debug, Default)]
pub struct FormErrors(pub Vec<FieldError>);

impl FormErrors {
    /// The error of a field, if any.
    pub fn on(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|error| error.field == field).map(|error| error.message.as_str())
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
