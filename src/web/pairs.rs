//! Form-encoded pairs of names and values, in queries and forms.

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

/// The maximum number of fields in a query or form.
pub const MAX_FIELDS: usize = 256;

/// Refuses a query with too many fields, before anything parses it.
pub fn check_query(query: &str) -> Result<(), Problem> {
    check_fields(query.as_bytes(), "The query")
}

/// The names and values of a form or query, in order. `what` names it in errors.
pub fn pairs(text: &[u8], what: &str) -> Result<Vec<(String, String)>, Problem> {
    check_fields(text, what)?;
    serde_html_form::from_bytes(text)
        .map_err(|_| Problem::bad_request(format!("{what} can't be read: it is not form-encoded.")))
}

/// Counts fields before parsing, so that an excessive number costs nothing.
fn check_fields(text: &[u8], what: &str) -> Result<(), Problem> {
    let fields = text.iter().filter(|byte| **byte == b'&').count() + 1;
    if fields > MAX_FIELDS {
        return Err(Problem::bad_request(format!(
            "{what} has {fields} fields; at most {MAX_FIELDS} are allowed."
        )));
    }
    Ok(())
}
