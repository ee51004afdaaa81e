//! Entries about people's accounts, in the log of each organisation that they belong to.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Result;
use crate::orgs::store;

/// Enters an event about the holder of an account.
pub fn note(tx: &mut Tx<'_>, holder: &AccountHolder, event: &Event) -> Result<()> {
    for org in store::ids_of_person(tx.conn, holder.person)? {
        log::append(tx, &holder.in_org(org), &holder.person.to_string(), event)?;
    }
    Ok(())
}
