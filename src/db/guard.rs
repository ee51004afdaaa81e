//! What a process knows of audit logs that the database can't tell it: the key that authenticates
//! them, and how far each log had grown when this process last saw it. So a log that is put back to
//! an older state while the server runs is noticed, although that state was authentic once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::crypto::{Digest, LogSeal};
use crate::error::{Error, Result};
use crate::id::OrgId;

/// How far a log had grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// How many entries it had.
    pub size: i64,
    /// A digest of the state that it was in then.
    pub state: Digest,
    /// Whether it was known to be broken. Such a state takes the place of any other.
    pub is_broken: bool,
}

/// The keys of a process: while the root secret is being replaced, processes have two, and all use
/// the one of the secret that the database belongs to.
struct Seals {
    own: LogSeal,
    previous: Option<LogSeal>,
    by_own: AtomicBool,
}

/// The key and the marks of a process.
#[derive(Default)]
pub struct LogGuard {
    seals: OnceLock<Seals>,
    marks: Mutex<HashMap<OrgId, Mark>>,
    epoch: AtomicI64,
}

impl LogGuard {
    /// Gives the process its key, once: that of its root secret, or, if the database has another one, that
    /// of the secret given as the previous.
    pub fn unlock(&self, own: LogSeal, previous: Option<LogSeal>, by_own: bool) {
        // The first keys stay.
        let _ = self.seals.set(Seals { own, previous, by_own: AtomicBool::new(by_own) });
    }

    /// The key. Error: `Internal` before [`LogGuard::unlock`].
    pub fn seal(&self) -> Result<&LogSeal> {
        let seals = self.seals.get().ok_or_else(|| Error::internal("the database is not unlocked"))?;
        let by_own = seals.by_own.load(Ordering::Acquire);
        Ok(seals.previous.as_ref().filter(|_| !by_own).unwrap_or(&seals.own))
    }

    /// Whether the key is that of this process's own root secret.
    pub fn is_by_own(&self) -> bool {
        self.seals.get().is_none_or(|seals| seals.by_own.load(Ordering::Acquire))
    }

    /// Notes which of its secrets the database belongs to.
    pub fn use_own(&self, by_own: bool) {
        if let Some(seals) = self.seals.get() {
            seals.by_own.store(by_own, Ordering::Release);
        }
    }

    /// Takes the other key, if this process has one that `owns` says is the database's.
    pub fn change_seal(&self, owns: impl FnOnce(&LogSeal) -> Result<bool>) -> Result<bool> {
        let Some(seals) = self.seals.get() else { return Ok(false) };
        let by_own = seals.by_own.load(Ordering::Acquire);
        let other = if by_own { seals.previous.as_ref() } else { Some(&seals.own) };
        match other {
            Some(other) if owns(other)? => {
                seals.by_own.store(!by_own, Ordering::Release);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// How far a log had grown when this process last committed or checked it.
    pub fn mark(&self, org: OrgId) -> Option<Mark> {
        self.marks().get(&org).copied()
    }

    /// Forgets how far a log had grown, which an operator recovers.
    pub fn forget(&self, org: OrgId) {
        self.marks().remove(&org);
    }

    /// The marks of all logs.
    pub fn all_marks(&self) -> HashMap<OrgId, Mark> {
        self.marks().clone()
    }

    /// The latest register of logs that this process has seen.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Notes that this register was read or committed.
    pub fn saw_epoch(&self, epoch: i64) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Notes a committed state; an older one changes nothing.
    pub fn note(&self, org: OrgId, mark: Mark) {
        let mut marks = self.marks();
        if mark.is_broken || marks.get(&org).is_none_or(|known| known.size <= mark.size) {
            marks.insert(org, mark);
        }
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<OrgId, Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
