//! Mails that tell a person what changed about how their account is guarded.

use crate::db::Tx;
use crate::error::Result;
use crate::mail::{Change, Recipient, SecurityNotice, outbox};
use crate::people::store::Person;
use crate::time::Time;

/// Where a change comes from, as its notice tells it.
#[derive(Clone, Debug, Default)]
pub struct Whence {
    /// The client's address, where there is one.
    pub address: Option<String>,
    /// The browser in words, where there is one.
    pub device: Option<String>,
}

/// Queues the notice, to the address that the person has in `person`: for a change of the
/// address, the one before.
pub fn tell(tx: &mut Tx<'_>, person: &Person, what: Change, whence: &Whence, now: Time) -> Result<()> {
    let Whence { address, device } = whence.clone();
    let letter = SecurityNotice { what, at: now, address, device };
    outbox::queue(tx, &recipient(person), &letter.into(), now)
}

/// A person as the reader of a mail about their account alone.
pub fn recipient(person: &Person) -> Recipient {
    Recipient { org: None, person: Some(person.id), name: person.name.clone(), address: person.email.clone() }
}
