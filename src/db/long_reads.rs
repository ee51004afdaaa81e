//! Fair queue for long reads, so that they cannot exhaust the connection pool: checks of keys and the feed must not wait for
//! reports.

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

/// Grants turns to long reads.
pub(super) struct LongReads {
    all: Arc<Semaphore>,
    /// Each organisation has one turn, so that its readers wait only for each other.
    orgs: Mutex<HashMap<OrgId, Arc<Turn<()>>>>,
    patience: Duration,
}

/// A turn, which ends when it is dropped.
pub(super) struct LongReadTurn {
    _org: OwnedMutexGuard<()>,
    _all: OwnedSemaphorePermit,
}

impl Default for LongReads {
    fn default() -> LongReads {
        LongReads { all: Arc::new(Semaphore::new(AT_ONCE)), orgs: Mutex::default(), patience: PATIENCE }
    }
}

impl LongReads {
    /// Waits for a turn of the organisation. Error: `Unavailable` after ten seconds.
    pub(super) async fn take(&self, org: OrgId) -> Result<LongReadTurn> {
        let own = self.of(org);
        let turn = async move {
            let own = own.lock_owned().await;
            let all = self.all.clone().acquire_owned().await;
            all.map(|all| LongReadTurn { _org: own, _all: all }).map_err(Error::internal)
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
    async fn organisation_waits_only_for_its_own_reads() {
        let long_reads = LongReads { patience: Duration::from_millis(1), ..LongReads::default() };
        let now = Time::from_seconds(0);
        let (one, other, third) = (OrgId::new(now), OrgId::new(now), OrgId::new(now));
        let first = long_reads.take(one).await.expect("a turn");
        assert!(matches!(long_reads.take(one).await, Err(Error::Unavailable(_))));
        let _second = long_reads.take(other).await.expect("a turn beside it");
        assert!(matches!(long_reads.take(third).await, Err(Error::Unavailable(_))));
        drop(first);
        long_reads.take(one).await.expect("the next turn");
    }

    #[tokio::test]
    async fn turn_lasts_until_the_read_ends_even_if_the_client_disconnects() {
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
