//! Renaming an organisation. Its slug stays, so links keep working.

use diesel::prelude::*;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::orgs::store;
use crate::schema::organizations;
use crate::text;

/// Validates a name; the error is about `field`.
pub fn check_name(field: &'static str, text: &str) -> Result<String, FieldError> {
    text::check_name(text, 100, "Enter the organisation's name.")
        .map_err(|wrong| FieldError::new(field, wrong))
}

/// Changes the organisation's name. The same name changes nothing.
pub fn rename(tx: &mut Tx<'_>, acting: &Acting, name: &str) -> Result<()> {
    let org = store::find(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    if org.name == name {
        return Ok(());
    }
    diesel::update(organizations::table.find(org.id)).set(organizations::name.eq(name)).execute(tx.conn)?;
    let change = Change { field: "name".into(), before: json!(org.name), after: json!(name) };
    log::append(tx, acting, &org.id.to_string(), &Event::OrganizationUpdated { changes: vec![change] })
}
