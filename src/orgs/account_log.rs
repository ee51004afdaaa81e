//! Records account events in the log of each organisation to which the person belongs.

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::AccountHolder;
use crate::db::Tx;
use crate::error::Result;
use crate::orgs::store;

/// Appends an event about the account's owner.
pub fn append(tx: &mut Tx<'_>, holder: &AccountHolder, event: &Event) -> Result<()> {
    for org in store::ids_of_person(tx.conn, holder.person)? {
        log::append(tx, &holder.in_org(org), &holder.person.to_string(), event)?;
    }
    Ok(())
}
