//! The acting principal of a change, and the check that its right still holds at the commit.
//!
//! A right can end while a request is in transit: its key is revoked, its session ended, its role
//! taken away. So no change relies on what was known when the request began. An interface opens a
//! [`Change`] with the acting [`Principal`]; inside the transaction the principal is read again and
//! locked until the commit, and only that read yields the [`Acting`] that every domain function needs
//! to change anything. `Acting` can't be built, copied or kept beyond the transaction.
//!
//! An [`AccountChange`] is the same for changes of a person's own account, which belongs to no
//! organisation; it yields an [`AccountHolder`].

use std::cell::Cell;
use std::time::Instant;

use serde::Serialize;

use crate::db::{Db, QueueKey, Requester, Tx};
use crate::error::{Error, Result};
use crate::id::{KeyId, OrgId, UserId};
use crate::role::Role;
use crate::scope::Scopes;
use crate::time::{MINUTE, Time};

/// The error message for a secret that a rotation has replaced.
const SUPERSEDED: &str =
    "This secret was replaced by a rotation and can't do this. Use the new secret, or ask the key's owner.";

/// How long after proving their identity a person counts as freshly signed in, in seconds.
pub const FRESH: i64 = 10 * MINUTE;

/// The author of a change, as the audit log names it.
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
    /// `None` if the client's address is unknown.
    pub address: Option<String>,
    /// The browser and system, such as "Firefox on Linux".
    pub device: Option<String>,
    pub request: Option<String>,
}

/// The author of a requested change, identified when the request began.
pub trait Principal: Send + 'static {
    /// Reads the principal again in the transaction of the change, and locks what it read until the
    /// commit, so that the right can't end in between.
    ///
    /// Errors: `SignedOut`, `KeyRefused`, `NotFound` for someone who left the organisation,
    /// `Forbidden`, `NotFresh`.
    fn verify(&self, tx: &mut Tx<'_>, now: Time) -> Result<VerifiedPrincipal>;

    /// Whom the fair order of changes counts as the requester.
    fn requester(&self) -> Requester;
}

/// The result of reading a principal again inside the transaction.
pub struct VerifiedPrincipal {
    pub actor: Actor,
    /// The person on whose behalf the actor acts: themselves, or the owner of the acting key.
    pub person: UserId,
    /// That person's role, if the change belongs to an organisation.
    pub role: Option<Role>,
    /// Whether the person proved their identity within the last [`FRESH`] seconds. Always true for
    /// programs and the command line, which have no sign-in.
    pub is_fresh: bool,
    pub key: Option<VerifiedKey>,
    /// Checks again, just before the commit, the conditions that the passing of time can end.
    pub recheck: Recheck,
}

/// Checks whether a right still holds at the given time. The flag says whether the change needs a fresh sign-in.
///
/// Errors: those of [`Principal::verify`].
pub type Recheck = Box<dyn Fn(Time, bool) -> Result<()>>;

/// The acting key of a [`VerifiedPrincipal`].
#[derive(Clone, Copy, Debug)]
pub struct VerifiedKey {
    /// The key's effective scopes.
    pub scopes: Scopes,
    /// Whether the secret that was presented has been replaced by a rotation.
    pub is_superseded: bool,
}

/// A principal whose right holds until the commit of the transaction that lends this value.
#[derive(Debug)]
pub struct Acting {
    pub org: OrgId,
    pub actor: Actor,
    /// `None` if the client's address is unknown.
    pub address: Option<String>,
    /// The request id, if an HTTP request causes the change.
    pub request: Option<String>,
    pub now: Time,
    person: Option<UserId>,
    role: Option<Role>,
    is_fresh: bool,
    needed_fresh: Cell<bool>,
    key: Option<VerifiedKey>,
}

impl Acting {
    /// Keydesk itself: for changes that follow from a rule, a deadline or a link that was used up in
    /// this transaction and belongs to no person.
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

    fn new(org: OrgId, verified: &VerifiedPrincipal, source: RequestSource, now: Time) -> Acting {
        let VerifiedPrincipal { actor, person, role, is_fresh, key, .. } = *verified;
        Acting { actor, person: Some(person), role, is_fresh, key, ..Acting::system(org, source, now) }
    }

    /// The person on whose behalf the actor acts: themselves, or the owner of the acting key.
    ///
    /// Errors: `Forbidden` for Keydesk itself.
    pub fn person(&self) -> Result<UserId> {
        self.person.ok_or(Error::Forbidden)
    }

    /// The role of [`Acting::person`]. Errors: `Forbidden` if there is none.
    pub fn role(&self) -> Result<Role> {
        self.role.ok_or(Error::Forbidden)
    }

    /// The role for managing members and settings, which keys can't do.
    ///
    /// Errors: `Forbidden` for keys and for actors without a role.
    pub fn member_role(&self) -> Result<Role> {
        if self.key.is_some() { Err(Error::Forbidden) } else { self.role() }
    }

    /// `None` unless a program acts.
    pub fn key(&self) -> Option<VerifiedKey> {
        self.key
    }

    /// Errors: `NotFresh` unless the person proved their identity within [`FRESH`] seconds.
    pub fn require_fresh(&self) -> Result<()> {
        if self.key.is_some_and(|key| key.is_superseded) {
            return Err(Error::Denied(SUPERSEDED));
        }
        self.needed_fresh.set(true);
        if self.is_fresh { Ok(()) } else { Err(Error::NotFresh) }
    }

    /// Errors: `Denied` for a key that changes itself with a replaced secret: that is the secret that may
    /// have leaked.
    pub fn require_current_secret_of(&self, key: KeyId) -> Result<()> {
        let is_old = self.actor == Actor::Key(key) && self.key.is_some_and(|key| key.is_superseded);
        if is_old { Err(Error::Denied(SUPERSEDED)) } else { Ok(()) }
    }
}

/// A person whose right to change their own account holds until the commit of the transaction that
/// lends this value.
#[derive(Debug)]
pub struct AccountHolder {
    /// The person, or the command line on their behalf.
    pub actor: Actor,
    /// The account's owner.
    pub person: UserId,
    pub source: RequestSource,
    pub now: Time,
    is_fresh: bool,
    needed_fresh: Cell<bool>,
}

impl AccountHolder {
    /// A person who proved their identity inside this transaction: by using up a link, signing in at
    /// their provider, or entering the right password.
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

    /// The same actor for an entry in the log of one of the person's organisations, without any right there.
    pub fn in_org(&self, org: OrgId) -> Acting {
        Acting {
            actor: self.actor,
            person: Some(self.person),
            is_fresh: self.is_fresh,
            ..Acting::system(org, self.source.clone(), self.now)
        }
    }

    /// Errors: `NotFresh` unless the person proved their identity within [`FRESH`] seconds.
    pub fn require_fresh(&self) -> Result<()> {
        self.needed_fresh.set(true);
        if self.is_fresh { Ok(()) } else { Err(Error::NotFresh) }
    }
}

/// The parts that every change has: principal, source and time.
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

    /// The current time: a right may expire while the change waits.
    fn moment(&self) -> Time {
        let waited = i64::try_from(self.begun.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.now.plus_microseconds(waited)
    }
}

/// A change in an organisation, requested by a principal.
pub struct Change<P> {
    request: Request<P>,
    org: OrgId,
}

impl<P: Principal> Change<P> {
    /// A change requested by `principal` at `now`.
    pub fn new(principal: P, org: OrgId, source: RequestSource, now: Time) -> Change<P> {
        Change { request: Request::new(principal, source, now), org }
    }

    /// Runs `work` in one transaction if the principal still has the right. Like
    /// [`Db::write`], it may run `work` several times.
    pub async fn commit<T, F>(self, db: &Db, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &Acting) -> Result<T> + Send + 'static,
    {
        let requester = self.request.principal.requester();
        db.write_in_turn(QueueKey::Org(self.org), requester, move |tx| self.run(tx, &mut work)).await
    }

    /// A blocking [`Change::commit`], for the command line.
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
        // Needed even if another process has already made the change: a process that confirms a
        // revocation must no longer accept the key.
        tx.changes_keys();
        let verified = principal.verify(tx, self.request.moment())?;
        let acting = Acting::new(self.org, &verified, source.clone(), *now);
        let done = work(tx, &acting)?;
        // The work may have waited, too.
        (verified.recheck)(self.request.moment(), acting.needed_fresh.get())?;
        Ok(done)
    }
}

/// A change of a person's own account.
pub struct AccountChange<P> {
    request: Request<P>,
    person: UserId,
}

impl<P: Principal> AccountChange<P> {
    /// A change of the account of `person`, requested by `principal`, the same person, at `now`.
    pub fn new(principal: P, person: UserId, source: RequestSource, now: Time) -> AccountChange<P> {
        AccountChange { request: Request::new(principal, source, now), person }
    }

    /// Runs `work` in one transaction if the person is still signed in. Like [`Db::write`], it
    /// may run `work` several times.
    pub async fn commit<T, F>(self, db: &Db, mut work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &AccountHolder) -> Result<T> + Send + 'static,
    {
        let requester = self.request.principal.requester();
        let person = self.person;
        let work = move |tx: &mut Tx<'_>| {
            let Request { principal, source, now, .. } = &self.request;
            tx.take_turns_of(self.person)?;
            let verified = principal.verify(tx, self.request.moment())?;
            let holder =
                AccountHolder::new(verified.actor, verified.person, source.clone(), *now, verified.is_fresh);
            let done = work(tx, &holder)?;
            (verified.recheck)(self.request.moment(), holder.needed_fresh.get())?;
            Ok(done)
        };
        db.write_in_turn(QueueKey::Person(person), requester, work).await
    }
}
