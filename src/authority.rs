//! Who acts, and by what right.
//!
//! A right can end while a request is in transit: its key is revoked, its session ended, its role
//! taken away. So no change relies on what was known when the request began. An interface opens a
//! [`Change`] with the acting [`Principal`]; inside the transaction the principal is read again and
//! held until the commit, and only that read yields the [`Acting`] that every domain function needs
//! to change anything. `Acting` can't be built, copied or kept beyond the transaction.
//!
//! An [`AccountChange`] is the same for changes of a person's own account, which belongs to no
//! organisation; it yields an [`AccountHolder`].

use std::cell::Cell;
use std::time::Instant;

use serde::Serialize;

use crate::db::{Asker, Db, Line, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::role::Role;
use crate::scope::Scopes;
use crate::time::{MINUTE, Time};

/// What is said to a secret that a rotation has replaced.
const SUPERSEDED: &str =
    "This secret was replaced by a rotation and can't do this. Use the new secret, or ask the key's owner.";

/// How long after proving their identity a person may do what needs a fresh sign-in, in seconds.
pub const FRESH: i64 = 10 * MINUTE;

/// Who makes a change, as the audit log names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A signed-in person.
    Person(UserId),
    /// A program, by its key.
    Key(KeyId),
    /// An operator with the command line on the server.
    CommandLine,
    /// Keydesk itself.
    System,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Actor::Person(id) => id.fmt(f),
            Actor::Key(id) => id.fmt(f),
            Actor::CommandLine => f.write_str("system:cli"),
            Actor::System => f.write_str("system"),
        }
    }
}

impl Actor {
    /// Reads the form that entries store.
    pub fn parse(text: &str) -> Option<Actor> {
        match text {
            "system" => Some(Actor::System),
            "system:cli" => Some(Actor::CommandLine),
            _ => UserId::parse(text).map(Actor::Person).or_else(|| KeyId::parse(text).map(Actor::Key)),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where a request came from, for audit entries and security notices.
#[derive(Clone, Debug, Default)]
pub struct RequestSource {
    /// The client's address, if it is known.
    pub address: Option<String>,
    /// The browser in words, such as "Firefox on Linux".
    pub device: Option<String>,
    /// The request's id.
    pub request: Option<String>,
}

/// Somebody who asks for a change, identified when the request began.
pub trait Principal: Send + 'static {
    /// Reads the principal again in the transaction of the change, and holds what it read until the
    /// commit, so that the right can't end in between.
    ///
    /// Errors: `SignedOut`, `KeyRefused`, `NotFound` for someone who left the organisation,
    /// `Forbidden`, `NotFresh`.
    fn hold(&self, tx: &mut Tx<'_>, now: Time) -> Result<Held>;

    /// Who they are while they wait.
    fn asker(&self) -> Asker;
}

/// What re-reading a principal found.
pub struct Held {
    /// Who acts.
    pub actor: Actor,
    /// The person in whose name: themselves, or the owner of the acting key.
    pub person: UserId,
    /// That person's role in the organisation, where the change belongs to one.
    pub role: Option<Role>,
    /// Whether the person proved their identity within the last [`FRESH`] seconds. Always so for
    /// programs and the command line, which have no sign-in.
    pub is_fresh: bool,
    /// The acting key, as far as domain functions need to know it.
    pub key: Option<HeldKey>,
    /// What only time can end.
    pub lasts: Lasts,
}

/// Says whether a right still holds at a moment, as far as time ends it. `true` if a fresh sign-in is needed.
///
/// Errors: those of [`Principal::hold`].
pub type Lasts = Box<dyn Fn(Time, bool) -> Result<()>>;

/// The acting key of a [`Held`] principal.
#[derive(Clone, Copy, Debug)]
pub struct HeldKey {
    /// What the key may do now.
    pub scopes: Scopes,
    /// Whether the secret that was presented has been replaced by a rotation.
    pub is_superseded: bool,
}

/// A principal whose right holds until the commit of the transaction that lent this.
#[derive(Debug)]
pub struct Acting {
    /// The organisation in which they act.
    pub org: OrgId,
    /// Who they are.
    pub actor: Actor,
    /// Their address, if it is known.
    pub address: Option<String>,
    /// The id of their request, if there is one.
    pub request: Option<String>,
    /// When they act.
    pub now: Time,
    person: Option<UserId>,
    role: Option<Role>,
    is_fresh: bool,
    needed_fresh: Cell<bool>,
    key: Option<HeldKey>,
}

impl Acting {
    /// Keydesk itself, for what follows from a rule, from time passing, or from a link that this
    /// transaction used up and that belongs to no person.
    pub fn system(org: OrgId, source: RequestSource, now: Time) -> Acting {
        let RequestSource { address, request, .. } = source;
        Acting {
            org,
            actor: Actor::System,
            address,
            request,
            now,
            person: None,
            role: None,
            is_fresh: false,
            needed_fresh: Cell::new(false),
            key: None,
        }
    }

    fn new(org: OrgId, held: &Held, source: RequestSource, now: Time) -> Acting {
        let RequestSource { address, request, .. } = source;
        let Held { actor, person, role, is_fresh, key, .. } = *held;
        let needed_fresh = Cell::new(false);
        Acting { org, actor, address, request, now, person: Some(person), role, is_fresh, needed_fresh, key }
    }

    /// The person in whose name they act: themselves, or the owner of the acting key.
    ///
    /// Errors: `Forbidden` for Keydesk itself.
    pub fn person(&self) -> Result<UserId> {
        self.person.ok_or(Error::Forbidden)
    }

    /// The role of [`Acting::person`]. Errors: `Forbidden` for those without one.
    pub fn role(&self) -> Result<Role> {
        self.role.ok_or(Error::Forbidden)
    }

    /// The role in which members and settings are managed: no key manages those.
    ///
    /// Errors: `Forbidden` for keys and for those without a role.
    pub fn member_role(&self) -> Result<Role> {
        if self.key.is_some() { Err(Error::Forbidden) } else { self.role() }
    }

    /// The acting key, if a program acts.
    pub fn key(&self) -> Option<HeldKey> {
        self.key
    }

    /// Errors: `NotFresh` for a person who didn't prove their identity lately.
    pub fn require_fresh(&self) -> Result<()> {
        if self.key.is_some_and(|key| key.is_superseded) {
            return Err(Error::Denied(SUPERSEDED));
        }
        self.needed_fresh.set(true);
        if self.is_fresh { Ok(()) } else { Err(Error::NotFresh) }
    }

    /// Error: `Denied` for a key that changes itself with a secret that a rotation has replaced, which is
    /// the one that may have leaked.
    pub fn require_current_secret_of(&self, key: KeyId) -> Result<()> {
        let is_old = self.actor == Actor::Key(key) && self.key.is_some_and(|key| key.is_superseded);
        if is_old { Err(Error::Denied(SUPERSEDED)) } else { Ok(()) }
    }
}

/// A person whose right to change their own account holds until the commit of the transaction that
/// lent this.
#[derive(Debug)]
pub struct AccountHolder {
    /// Who acts: the person, or the command line in their place.
    pub actor: Actor,
    /// Whose account it is.
    pub person: UserId,
    /// Where the request came from.
    pub source: RequestSource,
    /// When they act.
    pub now: Time,
    is_fresh: bool,
    needed_fresh: Cell<bool>,
}

impl AccountHolder {
    /// A person who proved their identity inside this transaction: by a link that it used up, an
    /// answer of their provider, or a password that it found unchanged.
    pub fn just_proved(person: UserId, source: RequestSource, now: Time) -> AccountHolder {
        AccountHolder::new(Actor::Person(person), person, source, now, true)
    }

    /// An operator with the command line on the server.
    pub fn command_line(person: UserId, now: Time) -> AccountHolder {
        let (actor, source) = (Actor::CommandLine, RequestSource::default());
        AccountHolder::new(actor, person, source, now, true)
    }

    fn new(actor: Actor, person: UserId, source: RequestSource, now: Time, is_fresh: bool) -> AccountHolder {
        AccountHolder { actor, person, source, now, is_fresh, needed_fresh: Cell::new(false) }
    }

    /// The same for the log of one of the person's organisations, without any right there.
    pub fn in_org(&self, org: OrgId) -> Acting {
        let RequestSource { address, request, .. } = self.source.clone();
        Acting {
            org,
            actor: self.actor,
            address,
            request,
            now: self.now,
            person: Some(self.person),
            role: None,
            is_fresh: self.is_fresh,
            needed_fresh: Cell::new(false),
            key: None,
        }
    }

    /// Errors: `NotFresh` for a person who didn't prove their identity lately.
    pub fn require_fresh(&self) -> Result<()> {
        self.needed_fresh.set(true);
        if self.is_fresh { Ok(()) } else { Err(Error::NotFresh) }
    }
}

/// What all changes have in common: the principal, the source of the request, and its time.
struct Request<P> {
    principal: P,
    source: RequestSource,
    now: Time,
    begun: Instant,
}

impl<P: Principal> Request<P> {
    fn new(principal: P, source: RequestSource, now: Time) -> Request<P> {
        Request { principal, source, now, begun: Instant::now() }
    }

    /// Now: a right may end by time while the change waits.
    fn moment(&self) -> Time {
        let waited = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.now.plus_microseconds(waited)
    }
}

/// A change in an organisation that a principal asks for.
pub struct Change<P> {
    request: Request<P>,
    org: OrgId,
}

impl<P: Principal> Change<P> {
    /// A change that `principal` asks for at `now`.
    pub fn new(principal: P, org: OrgId, source: RequestSource, now: Time) -> Change<P> {
        Change { request: Request::new(principal, source, now), org }
    }

    /// Carries it out in one transaction, if the principal still has the right. Like
    /// [`Db::write`], it may run `work` several times.
    pub async fn commit<T, F>(self, db: &Db, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &Acting) -> Result<T> + Send + 'static,
    {
        let asker = self.request.principal.asker();
        db.write_in_turn(Line::Org(self.org), asker, move |tx| self.run(tx, &mut work)).await
    }

    /// [`Change::commit`] for callers that may block, such as the command line.
    pub fn commit_now<T>(
        &self,
        db: &Db,
        mut work: impl FnMut(&mut Tx<'_>, &Acting) -> Result<T>,
    ) -> Result<T> {
        db.write_now(|tx| self.run(tx, &mut work))
    }

    fn run<T>(&self, tx: &mut Tx<'_>, work: &mut impl FnMut(&mut Tx<'_>, &Acting) -> Result<T>) -> Result<T> {
        let Request { principal, source, now, .. } = &self.request;
        tx.take_turn(self.org)?;
        // Even if there is nothing left to change because another process has done it: a process that
        // confirms a revocation must no longer accept the key.
        tx.changes_keys();
        let held = principal.hold(tx, self.request.moment())?;
        let acting = Acting::new(self.org, &held, source.clone(), *now);
        let done = work(tx, &acting)?;
        // The work may have waited, too.
        (held.lasts)(self.request.moment(), acting.needed_fresh.get())?;
        Ok(done)
    }
}

/// A change of their own account that a person asks for.
pub struct AccountChange<P> {
    request: Request<P>,
    person: UserId,
}

impl<P: Principal> AccountChange<P> {
    /// A change of the account of `person` that `principal`, the same person, asks for at `now`.
    pub fn new(principal: P, person: UserId, source: RequestSource, now: Time) -> AccountChange<P> {
        AccountChange { request: Request::new(principal, source, now), person }
    }

    /// Carries it out in one transaction, if the person is still signed in. Like [`Db::write`], it
    /// may run `work` several times.
    pub async fn commit<T, F>(self, db: &Db, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &AccountHolder) -> Result<T> + Send + 'static,
    {
        let asker = self.request.principal.asker();
        let person = self.person;
        let work = move |tx: &mut Tx<'_>| {
            let Request { principal, source, now, .. } = &self.request;
            tx.take_turns_of(self.person)?;
            let held = principal.hold(tx, self.request.moment())?;
            let holder = AccountHolder::new(held.actor, held.person, source.clone(), *now, held.is_fresh);
            let done = work(tx, &holder)?;
            (held.lasts)(self.request.moment(), holder.needed_fresh.get())?;
            Ok(done)
        };
        db.write_in_turn(Line::Person(person), asker, work).await
    }
}
