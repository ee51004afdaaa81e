//! Counters in memory, written once a second in one transaction.
//!
//! A killed process loses at most the last second of counts. Clients can't make the counters grow without bound: keys
//! are proven, and each secret has at most [`MAX_CALLERS`](super::secret_counters::MAX_CALLERS) clients and
//! [`MAX_MODELS`](super::secret_counters::MAX_MODELS) models an hour; the rest count as `other`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::id::SecretId;
use crate::time::Time;
use crate::usage::batch::Batch;
use crate::usage::call::Call;
use crate::usage::journal::Writer;
use crate::usage::refusals::RefusedCall;
use crate::usage::secret_counters::SecretCounters;

/// Parts with a lock each, so that threads seldom wait for each other.
const SHARDS: usize = 16;
/// How long a page waits for counts to be written.
const PATIENCE: Duration = Duration::from_secs(2);

type Shard = HashMap<SecretId, SecretCounters>;

/// The counters of this process.
pub struct Meter {
    shards: [Mutex<Shard>; SHARDS],
    /// Counts that could not be written.
    unwritten: Mutex<Batch>,
    /// The time up to which everything is written, in seconds after the Unix epoch.
    counted_until: AtomicI64,
    /// This process in the journal.
    pub writer: Writer,
    /// Held from taking counts until they are written.
    pub flushing: tokio::sync::Mutex<FlushState>,
    /// Pages that wait until counts are written.
    pub waiters: Waiters,
}

/// Pages that show the counts of this moment. They write nothing themselves, but ask the ticker not to wait for
/// the end of the second.
#[derive(Default)]
pub struct Waiters {
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    arrived: Notify,
}

impl Waiters {
    /// Returns when a page has started to wait since the last return.
    pub async fn arrive(&self) {
        self.arrived.notified().await;
    }

    /// The pages that wait now. Each is to be answered once counts are written.
    pub fn take(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *lock(&self.waiting))
    }

    fn add(&self) -> oneshot::Receiver<()> {
        let (waiter, written) = oneshot::channel();
        lock(&self.waiting).push(waiter);
        self.arrived.notify_one();
        written
    }
}

/// The state that one flush leaves to the next.
#[derive(Debug, Default)]
pub struct FlushState {
    /// The number of the last batch.
    pub number: i64,
    /// A batch that may or may not have been written.
    pub unconfirmed: Option<(i64, Arc<Batch>)>,
    /// Whether other processes know that this one is counting.
    pub is_counting: bool,
}

impl Meter {
    /// An empty meter; everything before `now` counts as written.
    pub fn new(writer: Writer, now: Time) -> Meter {
        Meter {
            shards: std::array::from_fn(|_| Mutex::default()),
            unwritten: Mutex::default(),
            counted_until: AtomicI64::new(now.seconds()),
            writer,
            flushing: tokio::sync::Mutex::default(),
            waiters: Waiters::default(),
        }
    }

    /// Waits until the ticker has written what was counted before the call, for 2 seconds at most.
    pub async fn wait_until_written(&self) {
        if !self.is_written() {
            let _ = tokio::time::timeout(PATIENCE, self.waiters.add()).await;
        }
    }

    fn is_written(&self) -> bool {
        let is_idle = self.flushing.try_lock().is_ok_and(|flushing| flushing.unconfirmed.is_none());
        is_idle
            && lock(&self.unwritten).is_empty()
            && self.shards.iter().all(|shard| lock(shard).values().all(SecretCounters::is_written))
    }

    /// Counts one request.
    pub fn record(&self, call: &Call<'_>) {
        // The last byte of an id is random.
        let shard = usize::from(call.secret.bytes()[15]) % SHARDS;
        let mut shard = lock(&self.shards[shard]);
        let counted = shard.entry(call.secret).or_insert_with(|| SecretCounters::new(call));
        if call.at.hour() > counted.hour {
            // The names of the previous hour are no longer needed.
            counted.take(call.secret, &mut lock(&self.unwritten));
            *counted = SecretCounters::new(call);
        }
        counted.record(call);
    }

    /// Counts a refused request with its reason.
    pub fn refuse(&self, refusal: RefusedCall) {
        lock(&self.unwritten).refused.record(refusal);
    }

    /// Takes what was counted, to be written.
    pub fn take(&self, now: Time) -> Batch {
        let mut batch = std::mem::take(&mut *lock(&self.unwritten));
        for shard in &self.shards {
            let mut shard = lock(shard);
            for (secret, counted) in shard.iter_mut() {
                counted.take(*secret, &mut batch);
            }
            shard.retain(|_, counted| counted.hour >= now.hour());
        }
        batch
    }

    /// Takes back a batch that could not be written.
    pub fn give_back(&self, batch: Batch, now: Time) {
        lock(&self.unwritten).merge(batch.coarser(now));
    }

    /// Notes that everything up to `until` is written. It may be earlier than before, if a clock that was ahead was set
    /// back.
    pub fn written(&self, until: Time) {
        self.counted_until.store(until.seconds(), Relaxed);
    }

    /// The time up to which everything that this process answered is in the database.
    pub fn counted_until(&self) -> Time {
        Time::from_seconds(self.counted_until.load(Relaxed))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters are consistent after each statement, so a panic elsewhere does not harm them.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::IpAddr;

    use super::*;
    use crate::id::{KeyId, OrgId};
    use crate::keys::secret::PlainSecret;
    use crate::usage::call::{Outcome, Tokens};
    use crate::usage::secret_counters::{MAX_CALLERS, MAX_MODELS};
    use crate::usage::totals::Sum;

    const NOON: i64 = 1_800_014_400;

    type Ids = (OrgId, KeyId, SecretId);

    fn requests(batch: &Batch) -> i64 {
        batch.counts.values().map(|uses| uses.sum.requests).sum()
    }

    fn ids(at: Time) -> Ids {
        (OrgId::new(at), KeyId::new(at), SecretId::new(at))
    }

    fn call<'a>(ids: Ids, at: Time, model: &'a str, agent: &'a str, address: IpAddr) -> Call<'a> {
        Call {
            org: ids.0,
            key: ids.1,
            secret: ids.2,
            scope: None,
            model,
            outcome: Outcome::Ok,
            took: Duration::from_millis(1),
            tokens: Tokens { input: 3, output: 5, ..Tokens::default() },
            address: Some(address),
            agent,
            at,
        }
    }

    #[test]
    fn client_names_are_bounded() {
        let at = Time::from_seconds(NOON);
        let (meter, ids) = (Meter::new(Writer::new([0; 16]), at), ids(at));
        for number in 0..1_000_u32 {
            let name = format!("name/{number}");
            meter.record(&call(ids, at, &name, &name, number.to_be_bytes().into()));
        }
        let batch = meter.take(at);
        let callers: HashSet<_> = batch.counts.keys().map(|cell| (&cell.address, &cell.program)).collect();
        let models: HashSet<_> = batch.counts.keys().map(|cell| &cell.model).collect();
        assert_eq!((callers.len(), models.len()), (MAX_CALLERS + 1, MAX_MODELS + 1));
        let total = batch.counts.values().fold(Sum::default(), |mut total, uses| {
            total.add(uses.sum);
            total
        });
        assert_eq!(
            total,
            Sum { requests: 1_000, input_tokens: 3_000, output_tokens: 5_000, ..Sum::default() }
        );
    }

    #[test]
    fn secret_in_a_client_name_is_stored_nowhere() {
        let at = Time::from_seconds(NOON);
        let (meter, ids) = (Meter::new(Writer::new([0; 16]), at), ids(at));
        let key = PlainSecret::generate("kd").expect("random bytes");
        let local = IpAddr::from([127, 0, 0, 1]);
        for name in [key.expose(), &format!("my-{}/1.0", key.expose()), key.expose()] {
            meter.record(&call(ids, at, name, name, local));
        }
        let batch = meter.take(at);
        let named: Vec<(&str, &str, i64)> = batch
            .counts
            .iter()
            .map(|(cell, uses)| (&*cell.program, &*cell.model, uses.sum.requests))
            .collect();
        assert_eq!(named, [("other", "other", 3)]);
    }

    #[test]
    fn batch_is_split_by_organisation_without_loss() {
        let at = Time::from_seconds(NOON);
        let meter = Meter::new(Writer::new([0; 16]), at);
        let local = IpAddr::from([127, 0, 0, 1]);
        let orgs = [ids(at), ids(at)];
        for (ids, calls) in orgs.iter().zip([2, 3]) {
            (0..calls).for_each(|_| meter.record(&call(*ids, at, "m", "a", local)));
        }
        let parts = meter.take(at).by_org();
        assert_eq!(parts.len(), 2);
        for (ids, calls) in orgs.iter().zip([2, 3]) {
            let part = &parts[&ids.0];
            assert_eq!(requests(part), calls);
            assert!(part.counts.keys().all(|cell| cell.secret == ids.2));
        }
    }

    #[test]
    fn no_count_is_lost_when_an_hour_ends_or_a_batch_cannot_be_written() {
        let hour = Time::from_seconds(NOON);
        let (meter, ids) = (Meter::new(Writer::new([0; 16]), hour), ids(hour));
        let local = IpAddr::from([127, 0, 0, 1]);
        for seconds in [3_599, 3_601, 3_598, 7_199, 7_201] {
            meter.record(&call(ids, hour.plus(seconds), "m", "a", local));
            let batch = meter.take(hour.plus(seconds));
            meter.give_back(batch, hour.plus(90_000));
        }
        let batch = meter.take(hour.plus(90_000));
        assert_eq!(requests(&batch), 5);
        assert!(batch.counts.keys().all(|cell| cell.start == cell.start.hour()));
        assert!(meter.take(hour.plus(90_000)).is_empty());
    }
}
