//! E-mails that notify a person of security changes to their account.

use crate::authority::RequestSource;
use crate::db::Tx;
use crate::error::Result;
use crate::mail::{Change, SecurityNotice, outbox};
use crate::people::store::Person;
use crate::time::Time;

/// Queues a notice to the address in `person`: for a change of the address, that is the old one.
pub fn send(tx: &mut Tx<'_>, person: &Person, what: Change, source: &RequestSource, now: Time) -> Result<()> {
    let RequestSource { address, device, .. } = source.clone();
    let content = SecurityNotice { what, at: now, address, device };
    outbox::queue(tx, &person.recipient(None), &content.into(), now)
}
