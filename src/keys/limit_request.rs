//! Asking for a higher limit: whoever manages a key asks with a reason, an admin answers. Each
//! step is one transaction with its audit entry and its mails. A key has one open request.

pub mod rows;

use crate::audit::event::{Context, Event};
use crate::audit::log;
use crate::db::Tx;
use crate::error::{Error, FieldError, Result};
use crate::id::{KeyId, LimitRequestId, UserId};
use crate::keys::draft::{self, MAX_REASON};
use crate::keys::lifecycle::{self, Manager, Mint};
use crate::keys::{Key, feed, store};
use crate::mail::message::Message;
use crate::mail::{LimitDecision, LimitRequest as Letter, Recipient, outbox};
use crate::orgs;
use crate::orgs::policy;
use crate::orgs::role::{Act, Role};
use crate::people::store::Person;
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

/// What is asked for, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub struct Ask {
    limit: u32,
    reason: String,
}

impl Ask {
    /// Checks both fields; complaints name `limit` and `reason`.
    pub fn parse(limit: &str, reason: &str) -> Result<Ask, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let reason = parse_words("reason", reason, "Say what the key needs it for.");
        match (limit, reason) {
            (Ok(limit), Ok(reason)) => Ok(Ask { limit, reason }),
            (limit, reason) => Err([limit.err(), reason.err()].into_iter().flatten().collect()),
        }
    }
}

/// An answer, checked as far as it can be without the database.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The key gets this limit.
    Approve {
        /// Requests a minute.
        limit: u32,
        /// What is said with it, if anything.
        words: Option<String>,
    },
    /// The limit stays.
    Refuse {
        /// Why.
        words: String,
    },
}

impl Answer {
    /// Checks an approval; complaints name `limit` and `words`.
    pub fn approval(limit: &str, words: &str) -> Result<Answer, Vec<FieldError>> {
        let limit = parse_limit(limit);
        let words = draft::check_text("words", words, MAX_REASON);
        match (limit, words) {
            (Ok(limit), Ok(words)) => {
                Ok(Answer::Approve { limit, words: Some(words).filter(|words| !words.is_empty()) })
            }
            (limit, words) => Err([limit.err(), words.err()].into_iter().flatten().collect()),
        }
    }

    /// Checks a refusal, which needs words.
    pub fn refusal(words: &str) -> Result<Answer, Vec<FieldError>> {
        let words = parse_words("words", words, "Say why, so that they know what to do.");
        words.map(|words| Answer::Refuse { words }).map_err(|error| vec![error])
    }
}

fn parse_limit(text: &str) -> Result<u32, FieldError> {
    let number = text.trim().replace(',', "").parse().ok();
    number
        .filter(|limit| (1..=policy::MAX_RPM).contains(limit))
        .ok_or_else(|| FieldError::new("limit", "Use a number from 1 to 1,000,000."))
}

fn parse_words(field: &'static str, text: &str, missing: &str) -> Result<String, FieldError> {
    match draft::check_text(field, text, MAX_REASON)? {
        words if words.is_empty() => Err(FieldError::new(field, missing)),
        words => Ok(words),
    }
}

/// Asks for a higher limit, and tells everyone who can answer.
///
/// Errors: `NotFound`, `Forbidden`, `KeyEnded`, `Conflict` when a request is open, `Invalid` for a
/// limit that is no higher, that the policy allows nobody, or that needs no asking.
pub fn ask(
    tx: &mut Tx<'_>,
    context: &Context,
    manager: &Manager,
    mint: &Mint,
    id: KeyId,
    ask: &Ask,
) -> Result<()> {
    let key = lifecycle::living(tx, context, manager, id)?;
    let policy = policy::store::hold(tx, context.org)?;
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
    if rows::open(tx.conn, context.org, id)?.is_some() {
        return Err(Error::Conflict("A request for this key waits for an answer already."));
    }
    rows::insert(tx, context, manager.person, id, ask.limit, &ask.reason)?;
    let org = orgs::store::find(tx.conn, context.org)?.ok_or(Error::NotFound)?;
    let members = orgs::store::members_of(tx.conn, context.org)?;
    let asker = members.iter().find(|member| member.person.id == manager.person);
    let letter = Letter {
        key: id,
        key_name: key.name.clone(),
        org: org.slug,
        asker: asker.map_or_else(String::new, |member| member.person.name.clone()),
        limit: key.requests_per_minute,
        asked: ask.limit,
        reason: ask.reason.clone(),
    };
    let message = Message::from(letter);
    for member in members.iter().filter(|member| decides(member.role) && member.is_active()) {
        outbox::queue(tx, &recipient(context, &member.person), &message, context.now)?;
    }
    let event = Event::LimitRequested { requests_per_minute: ask.limit, reason: ask.reason.clone() };
    log::append(tx, context, &id.to_string(), &event)
}

fn recipient(context: &Context, person: &Person) -> Recipient {
    Recipient {
        org: Some(context.org),
        person: Some(person.id),
        name: person.name.clone(),
        address: person.email.clone(),
    }
}

fn decides(role: Role) -> bool {
    role.may(Act::DecideRequests)
}

/// Answers a request, and tells whoever asked.
///
/// Errors: `NotFound`, `Forbidden`, `Conflict` when it was answered already, `KeyEnded` for the
/// approval of a key that has ended, `Invalid` for a limit above the policy's largest.
pub fn decide(
    tx: &mut Tx<'_>,
    context: &Context,
    manager: &Manager,
    id: KeyId,
    request: LimitRequestId,
    answer: &Answer,
) -> Result<Key> {
    if !decides(manager.role) {
        return Err(Error::Forbidden);
    }
    let mut key = store::lock(tx, context.org, id)?;
    let open = rows::open(tx.conn, context.org, id)?.filter(|open| open.id == request);
    let open = open.ok_or(Error::Conflict("This request has been answered already."))?;
    let was = key.requests_per_minute;
    let (state, granted, words) = match answer {
        Answer::Refuse { words } => (State::Refused, None, Some(words.clone())),
        Answer::Approve { limit, words } => {
            if key.status(context.now).is_ended() {
                return Err(Error::KeyEnded);
            }
            let largest = policy::store::hold(tx, context.org)?.rules.largest_rpm;
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
            key.requests_per_minute = *limit;
            store::update(tx, &key)?;
            (State::Approved, Some(*limit), words.clone())
        }
    };
    rows::close(tx, context, request, state, manager.person, granted, words.as_deref())?;
    tell_asker(tx, context, manager, &key, &open, granted, words.clone())?;
    let event = match (granted, words) {
        (Some(after), words) => {
            Event::LimitRequestApproved { before: was, after, asked: open.asked_limit, words }
        }
        (None, words) => {
            Event::LimitRequestRefused { asked: open.asked_limit, words: words.unwrap_or_default() }
        }
    };
    log::append(tx, context, &id.to_string(), &event)?;
    if granted.is_some() {
        feed::publish(tx, context.org, id, context.now)?;
    }
    Ok(key)
}

/// Whoever asked and is still a member gets the answer.
fn tell_asker(
    tx: &mut Tx<'_>,
    context: &Context,
    manager: &Manager,
    key: &Key,
    open: &LimitRequest,
    granted: Option<u32>,
    words: Option<String>,
) -> Result<()> {
    let Some(asker) = orgs::store::find_member(tx.conn, context.org, &open.asked_by.to_string())? else {
        return Ok(());
    };
    let decider = orgs::store::find_member(tx.conn, context.org, &manager.person.to_string())?;
    let letter = LimitDecision {
        key: key.id,
        key_name: key.name.clone(),
        decider: decider.map_or_else(String::new, |member| member.person.name),
        limit: key.requests_per_minute,
        asked: open.asked_limit,
        granted: granted.is_some(),
        words: words.unwrap_or_default(),
    };
    outbox::queue(tx, &recipient(context, &asker.person), &letter.into(), context.now)
}

/// Takes a request back.
///
/// Errors: `NotFound`, `Forbidden` for someone else's, `Conflict` when it was answered already.
pub fn withdraw(tx: &mut Tx<'_>, context: &Context, manager: &Manager, id: KeyId) -> Result<()> {
    store::lock(tx, context.org, id)?;
    let open = rows::open(tx.conn, context.org, id)?;
    let open = open.ok_or(Error::Conflict("This request has been answered already."))?;
    if open.asked_by != manager.person {
        return Err(Error::Forbidden);
    }
    rows::close(tx, context, open.id, State::Withdrawn, manager.person, None, None)?;
    let event = Event::LimitRequestWithdrawn { asked: open.asked_limit };
    log::append(tx, context, &id.to_string(), &event)
}
