//! What people do enters the log of each organisation that they belong to.

use crate::audit::event::{Actor, Context, Event};
use crate::audit::log;
use crate::db::Tx;
use crate::error::Result;
use crate::id::UserId;
use crate::orgs::store;
use crate::time::Time;

/// Where an act of a person comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The client's address, where there is one.
    pub address: Option<String>,
    /// The request, where there is one.
    pub request: Option<String>,
}

/// Enters an event about `person`, caused by `actor`.
pub fn note(
    tx: &mut Tx<'_>,
    person: UserId,
    actor: Actor,
    origin: &Origin,
    event: &Event,
    now: Time,
) -> Result<()> {
    for org in store::ids_of_person(tx.conn, person)? {
        let (address, request) = (origin.address.clone(), origin.request.clone());
        let context = Context { org, actor, address, request, now };
        log::append(tx, &context, &person.to_string(), event)?;
    }
    Ok(())
}
