//! Fair queue for long reads, so that they cannot exhaust the connection pool: checks of keys and the feed must not wait for
//! someone's reports.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::id::OrgId;

/// Concurrent long reads.
const AT_ONCE: usize = 2;
/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// The turns of long reads.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    /// Each organisation has one turn, so that its readers wait only for each other.
    orgs: Mutex<HashMap<OrgId, Arc<Turn<()>>>>,
    patience: Duration,
}

/// A turn, which ends when it is dropped.
pub(super) struct Taken {
    _org: OwnedMutexGuard<()>,
    _all: OwnedSemaphorePermit,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns { all: Arc::new(Semaphore::new(AT_ONCE)), orgs: Mutex::default(), patience: PATIENCE }
    }
}

impl Turns {
    /// Waits for a turn of the organisation. Error: `Unavailable` if that takes too long.
    pub(super) async fn take(&self, org: OrgId) -> Result<Taken> {
        let own = self.of(org);
        let turn = async move {
            let own = own.lock_owned().await;
            let all = self.all.clone().acquire_owned().await;
            all.map(|all| Taken { _org: own, _all: all }).map_err(Error::internal)
        };
        timeout(self.patience, turn)
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("too many reports are being made".into())))
    }

    fn of(&self, org: OrgId) -> Arc<Turn<()>> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        // Each reader, waiting or reading, holds another reference.
        orgs.retain(|_, turn| Arc::strong_count(turn) > 1);
        orgs.entry(org).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Db, Location};
    use crate::time::Time;

    #[tokio::test]
    async fn organisation_waits_for_itself_and_leaves_a_turn_to_others() {
        let turns = Turns { patience: Duration::from_millis(1), ..Turns::default() };
        let now = Time::from_seconds(0);
        let (one, other, third) = (OrgId::new(now), OrgId::new(now), OrgId::new(now));
        let first = turns.take(one).await.expect("a turn");
        assert!(matches!(turns.take(one).await, Err(Error::Unavailable(_))));
        let _second = turns.take(other).await.expect("a turn beside it");
        assert!(matches!(turns.take(third).await, Err(Error::Unavailable(_))));
        drop(first);
        turns.take(one).await.expect("the next turn");
    }

    #[tokio::test]
    async fn turn_lasts_as_long_as_the_read_even_if_nobody_waits_for_it() {
        let place = tempfile::tempdir().expect("a directory");
        let db = Db::open(&Location::Sqlite(place.path().join("keydesk.sqlite3"))).expect("a database");
        let org = OrgId::new(Time::from_seconds(0));
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::channel::<()>();
        let read = {
            let db = db.clone();
            tokio::spawn(async move {
                db.read_long(org, move |_| {
                    let _ = begun.send(());
                    let _ = ends.recv();
                    Ok(())
                })
                .await
            })
        };
        begins.await.expect("the read has begun");
        read.abort();
        assert!(read.await.is_err_and(|error| error.is_cancelled()));
        let mut next = std::pin::pin!(db.read_long(org, |_| Ok(())));
        assert!(timeout(Duration::from_millis(100), &mut next).await.is_err(), "it waits for its turn");
        drop(end);
        next.await.expect("its turn");
    }
}
