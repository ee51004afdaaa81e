//! Mails that tell a person what changed about how their account is guarded.

use crate::authority::RequestSource;
use crate::db::Tx;
use crate::error::Result;
use crate::mail::{Change, Recipient, SecurityNotice, outbox};
use crate::people::store::Person;
use crate::time::Time;

/// Queues the notice, to the address that the person has in `person`: for a change of the
/// address, the one before.
pub fn tell(tx: &mut Tx<'_>, person: &Person, what: Change, source: &RequestSource, now: Time) -> Result<()> {
    let RequestSource { address, device, .. } = source.clone();
    let letter = SecurityNotice { what, at: now, address, device };
    outbox::queue(tx, &recipient(person), &letter.into(), now)
}

/// A person as the reader of a mail about their account alone.
pub fn recipient(person: &Person) -> Recipient {
    Recipient { org: None, person: Some(person.id), name: person.name.clone(), address: person.email.clone() }
}
