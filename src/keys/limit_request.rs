//! Asking for a higher limit: whoever manages a key asks with a reason, an admin answers. Each
//! step is one transaction with its audit entry and its mails. A key has one open request.

mod mails;
pub mod rows;
mod words;

pub use words::{Answer, Ask};

use crate::audit::event::Event;
use crate::audit::log;
use crate::authority::Acting;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::id::{KeyId, LimitRequestId, UserId};
use crate::keys::lifecycle::{self, Mint};
use crate::keys::manager::{Deed, Manager};
use crate::keys::{Key, feed, mails as key_mails, store};
use crate::mail::Widening;
use crate::orgs::policy;
use crate::role::{Act, Role};
use crate::scope::Scope;
use crate::time::Time;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for an answer.
    Open,
    /// The key got a higher limit, perhaps another one than was asked for.
    Approved,
    /// The limit stayed.
    Refused,
    /// Whoever asked took it back.
    Withdrawn,
}

impl State {
    const ALL: [State; 4] = [State::Open, State::Approved, State::Refused, State::Withdrawn];

    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Approved => "approved",
            State::Refused => "refused",
            State::Withdrawn => "withdrawn",
        }
    }

    fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A request, with the names of those it is about.
#[derive(Clone, Debug)]
pub struct LimitRequest {
    /// Which.
    pub id: LimitRequestId,
    /// For which key.
    pub key: KeyId,
    /// The key's name.
    pub key_name: String,
    /// The key's limit now.
    pub limit_now: u32,
    /// Who asked.
    pub asked_by: UserId,
    /// Their name.
    pub asker: String,
    /// When.
    pub asked_at: Time,
    /// For how many requests a minute.
    pub asked_limit: u32,
    /// Why.
    pub reason: String,
    /// Where it is.
    pub state: State,
    /// When it was answered or taken back, and who did it by name.
    pub decided: Option<(Time, String)>,
    /// Requests a minute that were granted.
    pub granted: Option<u32>,
    /// What was answered.
    pub words: Option<String>,
}

/// Asks for a higher limit, and tells everyone who can answer.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `Conflict` when a request is open, `Invalid` for a
/// limit that is no higher, that the policy allows nobody, or that needs no asking.
pub fn ask(tx: &mut Tx<'_>, acting: &Acting, mint: &Mint, id: KeyId, ask: &Ask) -> Result<()> {
    let manager = Manager::of(acting)?;
    let key = lifecycle::living(tx, acting, Deed::Edit, id)?;
    let policy = policy::store::hold(tx, acting.org)?;
    let refuse = |message: String| Err(Error::invalid("limit", message));
    if ask.limit <= key.requests_per_minute {
        return refuse(format!("Ask for more than the {} it has.", key.requests_per_minute));
    }
    if ask.limit > policy.rules.largest_rpm {
        return refuse(format!("The organisation’s policy allows at most {}.", policy.rules.largest_rpm));
    }
    if ask.limit <= policy.most_rpm(manager.role, mint.default_rpm) {
        return refuse("You can set this limit yourself: edit the key.".to_owned());
    }
    if rows::open(tx.conn, acting.org, id)?.is_some() {
        return Err(Error::Conflict("A request for this key waits for an answer already."));
    }
    rows::insert(tx, acting, manager.person, id, ask.limit, &ask.reason)?;
    mails::asked(tx, acting, manager.person, &key, ask)?;
    let event = Event::LimitRequested { requests_per_minute: ask.limit, reason: ask.reason.clone() };
    log::append(tx, acting, &id.to_string(), &event)
}

fn decides(role: Role) -> bool {
    role.may(Act::DecideRequests)
}

/// Answers a request, and tells whoever asked and whoever answers for the key.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` when it was answered already, `KeyEnded` for the
/// approval of a key that has ended, `Invalid` for a limit above the policy's largest.
pub fn decide(
    tx: &mut Tx<'_>,
    acting: &Acting,
    id: KeyId,
    request: LimitRequestId,
    answer: &Answer,
) -> Result<Key> {
    let manager = Manager::of(acting)?;
    if !decides(manager.role) {
        return Err(Error::Forbidden);
    }
    let mut key = store::lock(tx, acting.org, id)?;
    let open = rows::open(tx.conn, acting.org, id)?.filter(|open| open.id == request);
    let open = open.ok_or(Error::Conflict("This request has been answered already."))?;
    let was = key.requests_per_minute;
    let (state, granted, words) = match answer {
        Answer::Refuse { words } => (State::Refused, None, Some(words.clone())),
        Answer::Approve { limit, words } => {
            if key.status(acting.now).is_ended() {
                return Err(Error::KeyEnded);
            }
            let largest = policy::store::hold(tx, acting.org)?.rules.largest_rpm;
            if *limit > largest {
                let message = format!("The organisation’s policy allows at most {largest}.");
                return Err(Error::invalid("limit", message));
            }
            if *limit <= was {
                return Err(Error::invalid(
                    "limit",
                    format!("It has {was} already. Approve more, or refuse."),
                ));
            }
            if key.scopes.has(Scope::Admin) {
                acting.require_fresh()?;
            }
            key.requests_per_minute = *limit;
            store::update(tx, &key)?;
            // Everybody else gets the answer itself.
            key_mails::widened_for_admins(tx, acting, &key, &[Widening::Limit(*limit)])?;
            (State::Approved, Some(*limit), words.clone())
        }
    };
    rows::close(tx, acting, request, state, manager.person, granted, words.as_deref())?;
    mails::answered(tx, acting, manager.person, &key, &open, granted.is_some(), words.clone())?;
    let event = match (granted, words) {
        (Some(after), words) => {
            Event::LimitRequestApproved { before: was, after, asked: open.asked_limit, words }
        }
        (None, words) => {
            Event::LimitRequestRefused { asked: open.asked_limit, words: words.unwrap_or_default() }
        }
    };
    log::append(tx, acting, &id.to_string(), &event)?;
    if granted.is_some() {
        feed::publish(tx, acting.org, id, acting.now)?;
    }
    Ok(key)
}

/// Takes a request back.
///
/// Errors: `NotFound`, `Forbidden` for someone else's, `Conflict` when it was answered already.
pub fn withdraw(tx: &mut Tx<'_>, acting: &Acting, id: KeyId) -> Result<()> {
    let manager = Manager::of(acting)?;
    store::lock(tx, acting.org, id)?;
    let open = rows::open(tx.conn, acting.org, id)?;
    let open = open.ok_or(Error::Conflict("This request has been answered already."))?;
    if open.asked_by != manager.person {
        return Err(Error::Forbidden);
    }
    rows::close(tx, acting, open.id, State::Withdrawn, manager.person, None, None)?;
    let event = Event::LimitRequestWithdrawn { asked: open.asked_limit };
    log::append(tx, acting, &id.to_string(), &event)
}
