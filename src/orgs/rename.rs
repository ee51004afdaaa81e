//! The name of an organisation, which can change; its slug stays, so that links go on working.

use diesel::prelude::*;
use serde_json::json;

use crate::audit::event::{Change, Event};
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::orgs::store;
use crate::schema::organizations;
use crate::text::forbidden_character;

/// Checks a name; the complaint is about `field`.
pub fn check_name(field: &'static str, text: &str) -> Result<String, FieldError> {
    let name = text.trim();
    if name.is_empty() {
        return Err(FieldError::new(field, "Enter the organisation's name."));
    }
    if name.chars().count() > 100 || name.chars().any(forbidden_character) {
        return Err(FieldError::new(field, "Use at most 100 characters, none of them control characters."));
    }
    Ok(name.to_owned())
}

/// Gives the organisation another name. The same name makes no entry.
pub fn rename(tx: &mut Tx<'_>, acting: &Acting, name: &str) -> Result<()> {
    let org = store::find(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    if org.name == name {
        return Ok(());
    }
    diesel::update(organizations::table.find(org.id)).set(organizations::name.eq(name)).execute(tx.conn)?;
    let change = Change { field: "name".into(), before: json!(org.name), after: json!(name) };
    log::append(tx, acting, &org.id.to_string(), &Event::OrganizationUpdated { changes: vec![change] })
}
