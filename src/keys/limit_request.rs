//! Requests for a higher limit: the owner of a key requests it with a reason, an admin approves or declines.
//! Each step is one transaction with its audit entry and its e-mails. A key has at most one open request.

mod emails;
mod input;
pub mod rows;

pub use input::{Answer, Ask};

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{KeyId, LimitRequestId, UserId};
use crate::keys::lifecycle::{self, KeyDefaults};
use crate::keys::manager::{KeyAction, KeyManager};
use crate::keys::settings::PerMinute;
use crate::keys::{Key, emails as key_emails, feed, store};
use crate::mail::Widening;
use crate::orgs::policy;
use crate::role::{Act, Role};
use crate::scope::Scope;
use crate::time::Time;

/// The state of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// The key got a higher limit, perhaps not the requested one.
    Approved,
    Declined,
    /// Cancelled by the person who made it.
    Withdrawn,
}

impl State {
    const ALL: [State; 4] = [State::Open, State::Approved, State::Declined, State::Withdrawn];

    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Approved => "approved",
            State::Declined => "refused",
            State::Withdrawn => "withdrawn",
        }
    }

    fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A request, with the names of the key and of the people involved.
#[derive(Clone, Debug)]
pub struct LimitRequest {
    pub id: LimitRequestId,
    pub key: KeyId,
    pub key_name: String,
    /// The current limit of the key, in requests per minute.
    pub limit_now: u32,
    pub asked_by: UserId,
    /// The name of the person who made the request.
    pub asker: String,
    pub asked_at: Time,
    /// The requested limit, in requests per minute.
    pub asked_limit: u32,
    pub reason: String,
    pub state: State,
    /// When the request was closed, and the name of the person who closed it.
    pub decided: Option<(Time, String)>,
    /// The approved limit, in requests per minute.
    pub granted: Option<u32>,
    /// The message of the person who decided.
    pub words: Option<String>,
}

/// Requests a higher limit, and notifies everyone who can decide.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `Conflict` if a request is open, `Invalid` for a limit that
/// is not higher, that the policy does not allow, or that needs no request.
pub fn ask(tx: &mut Tx<'_>, acting: &Acting, defaults: &KeyDefaults, id: KeyId, ask: &Ask) -> Result<()> {
    let manager = KeyManager::of(acting)?;
    let key = lifecycle::lock_for(tx, acting, KeyAction::Edit, id)?;
    let policy = policy::store::lock_shared(tx, acting.org)?;
    let refuse = |message: String| Err(Error::invalid("limit", message));
    let limit = key.settings.requests_per_minute.get();
    if ask.limit <= limit {
        return refuse(format!("Request more than the current {limit}."));
    }
    if ask.limit > policy.rules.largest_rpm {
        return refuse(format!("The organisation’s policy allows at most {}.", policy.rules.largest_rpm));
    }
    if ask.limit <= policy.most_rpm(manager.role, defaults.default_rpm) {
        return refuse("You can set this limit yourself: edit the key.".to_owned());
    }
    if rows::open(tx.conn, acting.org, id)?.is_some() {
        return Err(Error::Conflict("A request for this key is open already."));
    }
    rows::insert(tx, acting, manager.person, id, ask.limit, &ask.reason)?;
    emails::requested(tx, acting, manager.person, &key, ask)?;
    let event = Event::LimitRequested { requests_per_minute: ask.limit, reason: ask.reason.clone() };
    log::append(tx, acting, &id.to_string(), &event)
}

fn decides(role: Role) -> bool {
    role.may(Act::DecideRequests)
}

/// Approves or declines a request, and notifies the person who made it and the recipients of the key's
/// e-mail.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` if the request is closed already, `KeyEnded` for an approval
/// after the key has ended, `Invalid` for a limit above the largest that the policy allows.
pub fn decide(
    tx: &mut Tx<'_>,
    acting: &Acting,
    id: KeyId,
    request: LimitRequestId,
    answer: &Answer,
) -> Result<Key> {
    let manager = KeyManager::of(acting)?;
    if !decides(manager.role) {
        return Err(Error::Forbidden);
    }
    let mut key = store::lock(tx, acting.org, id)?;
    let open = rows::open(tx.conn, acting.org, id)?.filter(|open| open.id == request);
    let open = open.ok_or(Error::Conflict("This request has already been decided."))?;
    let was = key.settings.requests_per_minute.get();
    let (state, granted, words) = match answer {
        Answer::Decline { words } => (State::Declined, None, Some(words.clone())),
        Answer::Approve { limit, words } => {
            if key.status(acting.now).is_ended() {
                return Err(Error::KeyEnded);
            }
            let largest = policy::store::lock_shared(tx, acting.org)?.rules.largest_rpm;
            if *limit > largest {
                let message = format!("The organisation’s policy allows at most {largest}.");
                return Err(Error::invalid("limit", message));
            }
            if *limit <= was {
                return Err(Error::invalid(
                    "limit",
                    format!("Approve more than the current {was}, or decline."),
                ));
            }
            if key.scopes.has(Scope::Admin) {
                acting.require_fresh()?;
            }
            key.settings.requests_per_minute = PerMinute::new(*limit);
            store::update(tx, &key)?;
            // Owner and backup get the e-mail about the decision.
            key_emails::widened_for_admins(tx, acting, &key, &[Widening::Limit(*limit)])?;
            (State::Approved, Some(*limit), words.clone())
        }
    };
    rows::close(tx, acting, request, state, manager.person, granted, words.as_deref())?;
    emails::answered(tx, acting, manager.person, &key, &open, granted.is_some(), words.clone())?;
    let event = match (granted, words) {
        (Some(after), words) => {
            Event::LimitRequestApproved { before: was, after, asked: open.asked_limit, words }
        }
        (None, words) => {
            Event::LimitRequestDeclined { asked: open.asked_limit, words: words.unwrap_or_default() }
        }
    };
    log::append(tx, acting, &id.to_string(), &event)?;
    if granted.is_some() {
        feed::publish(tx, acting.org, id, acting.now)?;
    }
    Ok(key)
}

/// Cancels a request.
///
/// Errors: `NotFound`, `Forbidden` for the request of someone else, `Conflict` if it is closed already.
pub fn withdraw(tx: &mut Tx<'_>, acting: &Acting, id: KeyId) -> Result<()> {
    let manager = KeyManager::of(acting)?;
    store::lock(tx, acting.org, id)?;
    let open = rows::open(tx.conn, acting.org, id)?;
    let open = open.ok_or(Error::Conflict("This request has already been decided."))?;
    if open.asked_by != manager.person {
        return Err(Error::Forbidden);
    }
    rows::close(tx, acting, open.id, State::Withdrawn, manager.person, None, None)?;
    let event = Event::LimitRequestWithdrawn { asked: open.asked_limit };
    log::append(tx, acting, &id.to_string(), &event)
}
