//! What browsers send: form fields, kept as typed so that a refused form loses nothing.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::error::FieldError;
use crate::web::body::buffered;
use crate::web::problem::Problem;

/// The parameters of a view with some of them changed, without the empty ones.
pub fn query(own: &[(&str, &str)], changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let changed = own.iter().map(|(name, value)| {
        let change = changes.iter().find(|(changed, _)| changed == name);
        (*name, change.map_or(*value, |(_, value)| *value))
    });
    let given = changed.filter(|(_, value)| !value.is_empty());
    given.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How many fields a query or a form may have.
pub const MAX_FIELDS: usize = 256;

/// Refuses a query with too many fields, before anybody looks at it.
pub fn check_query(query: &str) -> Result<(), Problem> {
    check_fields(query.as_bytes(), "The query")
}

/// The names and values of a form or a query, in their order. `what` is what a refusal calls it.
pub fn pairs(text: &[u8], what: &str) -> Result<Vec<(String, String)>, Problem> {
    check_fields(text, what)?;
    serde_html_form::from_bytes(text)
        .map_err(|_| Problem::bad_request(format!("{what} can't be read: it is not form-encoded.")))
}

/// Counts before parsing, so that what is too much costs nothing.
fn check_fields(text: &[u8], what: &str) -> Result<(), Problem> {
    let fields = text.iter().filter(|byte| **byte == b'&').count() + 1;
    if fields > MAX_FIELDS {
        return Err(Problem::bad_request(format!("{what} has {fields} fields; the most is {MAX_FIELDS}.")));
    }
    Ok(())
}

/// The fields of a submitted form or of a query, in their order.
#[derive(Clone, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The fields of a query string; none when it can't be read.
    pub fn of_query(request: &HttpRequest) -> Fields {
        Fields(pairs(request.query_string().as_bytes(), "The query").unwrap_or_default())
    }

    /// The first value of that name, or nothing.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether the field was sent at all.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }

    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = &(String, String)> {
        self.0.iter()
    }

    /// The fields of a form as it was sent.
    pub fn of_body(bytes: &[u8]) -> Result<Fields, Problem> {
        pairs(bytes, "The form").map(Fields)
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

/// The complaints about a form, as its template asks for them.
#[derive(Clone, Debug, Default)]
pub struct Complaints(pub Vec<FieldError>);

impl Complaints {
    /// What is wrong with a field, if anything.
    pub fn on(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|error| error.field == field).map(|error| error.message.as_str())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
