//! What a process knows about audit logs that is not in the database: the key that authenticates them, and the size of each
//! log when this process last saw it. So it detects a log that is restored to an older state while the server runs, although
//! that state is authentic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::crypto::{Digest, LogSeal};
use crate::error::{Error, Result};
use crate::id::OrgId;

/// The state of a log when this process last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The number of entries.
    pub size: i64,
    /// A digest of its state.
    pub state: Digest,
    /// Whether it was known to be broken. Such a state replaces any other.
    pub is_broken: bool,
}

/// The keys of a process. While the root secret is being replaced there are two, and all processes use the one that the
/// database belongs to.
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
    /// Sets the key, once: that of the root secret, or that of the previous one if the database belongs to it.
    pub fn unlock(&self, own: LogSeal, previous: Option<LogSeal>, by_own: bool) {
        // The first call wins.
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

    /// Switches to the other key, if this process has one and `owns` accepts it.
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

    /// The state of a log when this process last committed or checked it.
    pub fn mark(&self, org: OrgId) -> Option<Mark> {
        self.marks().get(&org).copied()
    }

    /// Forgets the state of a log that an operator recovers.
    pub fn forget(&self, org: OrgId) {
        self.marks().remove(&org);
    }

    /// The marks of all logs.
    pub fn all_marks(&self) -> HashMap<OrgId, Mark> {
        self.marks().clone()
    }

    /// The epoch of the latest register of logs that this process has seen.
    pub fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Notes the epoch of a register that was read or committed.
    pub fn saw_epoch(&self, epoch: i64) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// Notes a committed state. An older one is ignored.
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
