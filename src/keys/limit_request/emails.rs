//! Queues the e-mails about requests for higher limits: the request to everyone who can decide, the decision
//! to the person who made the request and to the key's current owner.

use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::UserId;
use crate::keys::Key;
use crate::keys::limit_request::{Ask, LimitRequest, decides};
use crate::mail::message::Message;
use crate::mail::{LimitDecision, LimitRequest as LimitRequestMail, Requester, outbox};
use crate::orgs::store;

/// Queues the e-mail about a new request. Service accounts are left out: they cannot sign in to decide.
pub(super) fn requested(tx: &mut Tx<'_>, acting: &Acting, asker: UserId, key: &Key, ask: &Ask) -> Result<()> {
    let org = store::find(tx.conn, acting.org)?.ok_or(Error::NotFound)?;
    let members = store::members_of(tx.conn, acting.org)?;
    let name = members.iter().find(|member| member.person.id == asker);
    let letter = LimitRequestMail {
        key: key.id,
        key_name: key.name.clone(),
        org: org.slug,
        asker: name.map_or_else(String::new, |member| member.person.name.clone()),
        limit: key.settings.requests_per_minute.get(),
        asked: ask.limit,
        reason: ask.reason.clone(),
    };
    let message = Message::from(letter);
    for member in members.iter().filter(|member| decides(member.role)) {
        if member.is_active() && !member.is_service() {
            outbox::queue(tx, &member.person.recipient(Some(acting.org)), &message, acting.now)?;
        }
    }
    Ok(())
}

/// Queues the e-mail about a decision. The key may have a new owner since the request.
pub(super) fn answered(
    tx: &mut Tx<'_>,
    acting: &Acting,
    decider: UserId,
    key: &Key,
    open: &LimitRequest,
    granted: bool,
    words: Option<String>,
) -> Result<()> {
    let by = store::find_member(tx.conn, acting.org, &decider.to_string())?;
    let letter = |asker: Option<Requester>| LimitDecision {
        key: key.id,
        key_name: key.name.clone(),
        decider: by.as_ref().map_or_else(String::new, |member| member.person.name.clone()),
        limit: key.settings.requests_per_minute.get(),
        asked: open.asked_limit,
        granted,
        words: words.clone().unwrap_or_default(),
        asker,
    };
    let asker = store::find_member(tx.conn, acting.org, &open.asked_by.to_string())?;
    if let Some(asker) = asker.filter(|member| member.is_active()) {
        let to = asker.person.recipient(Some(acting.org));
        outbox::queue(tx, &to, &letter(None).into(), acting.now)?;
    }
    for (person, why) in store::recipients(tx.conn, acting.org, key.owner.id)? {
        if [open.asked_by, decider].contains(&person.id) {
            continue;
        }
        let asker = Requester { name: open.asker.clone(), why };
        outbox::queue(tx, &person.recipient(Some(acting.org)), &letter(Some(asker)).into(), acting.now)?;
    }
    Ok(())
}
