//! A pool of connections with a queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::db::connect::{Manager, PATIENCE, pool};
use crate::db::{Conn, Location, fault};
use crate::error::{Error, Result};
use crate::task;

/// A pool of connections with a queue. Waiting in the queue occupies no thread: threads are shared, and a long
/// queue would otherwise stop other work.
#[derive(Clone)]
pub(super) struct QueuedPool {
    pool: r2d2::Pool<Manager>,
    places: Arc<Semaphore>,
}

impl QueuedPool {
    pub(super) fn new(location: &Location, connections: u32) -> Result<QueuedPool> {
        QueuedPool::with_spare(location, connections, 0)
    }

    /// A pool of `connections`, with `spare` ones that replace connections that hang.
    pub(super) fn with_spare(location: &Location, connections: u32, spare: u32) -> Result<QueuedPool> {
        let places = Arc::new(Semaphore::new(connections as usize));
        Ok(QueuedPool { pool: pool(location, connections + spare)?, places })
    }

    /// The number of connections.
    pub(super) fn size(&self) -> usize {
        self.pool.max_size() as usize
    }

    /// The connections, for callers that may block.
    pub(super) fn pool(&self) -> &r2d2::Pool<Manager> {
        &self.pool
    }

    /// Does the work on a thread that may block, once a connection is free.
    pub(super) async fn off_thread<T: Send + 'static>(
        self,
        work: impl FnOnce(&r2d2::Pool<Manager>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, mut result) = erase(work);
        self.run(job).await?;
        result.try_recv().map_err(Error::internal)?
    }

    /// [`QueuedPool::off_thread`] for short work. Work that takes longer than `patience` is abandoned, and its place
    /// is free for others.
    pub(super) async fn within<T: Send + 'static>(
        self,
        patience: Duration,
        work: impl FnOnce(&r2d2::Pool<Manager>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, mut result) = erase(work);
        self.run_within(patience, job).await?;
        result.try_recv().map_err(Error::internal)?
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = timeout(PATIENCE, self.places.clone().acquire_owned()).await;
        place
            .map_err(|_| Error::Unavailable("too many requests wait for the database".into()))?
            .map_err(Error::internal)
    }

    async fn run(self, job: Job) -> Result<()> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return self.occupy(place, job).await;
        }
        task::drive(async move {
            let place = self.place().await?;
            self.occupy(place, job).await
        })
        .await
    }

    async fn run_within(self, patience: Duration, job: Job) -> Result<()> {
        task::drive(async move {
            let _place = self.place().await?;
            let work = tokio::task::spawn_blocking(move || job(&self.pool));
            match timeout(patience, work).await {
                Ok(done) => done.map_err(Error::internal),
                Err(_) => Err(Error::Unavailable("the database does not answer".into())),
            }
        })
        .await
    }

    async fn occupy(self, place: OwnedSemaphorePermit, job: Job) -> Result<()> {
        let work = move || {
            // Held until the work ends, even if the client disconnects.
            let _place = place;
            job(&self.pool);
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }
}

/// Work whose type is erased, so that the code that queues and runs it is compiled only once.
type Job = Box<dyn FnOnce(&r2d2::Pool<Manager>) + Send>;

fn erase<T: Send + 'static>(
    work: impl FnOnce(&r2d2::Pool<Manager>) -> Result<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (send, result) = oneshot::channel();
    let job = move |pool: &r2d2::Pool<Manager>| {
        // No one receives it when the client has disconnected.
        let _ = send.send(work(pool));
    };
    (Box::new(job), result)
}

/// Lends a connection of the pool to the work.
pub(super) fn lend<T>(pool: &r2d2::Pool<Manager>, work: impl FnOnce(&mut Conn) -> Result<T>) -> Result<T> {
    let mut link = pool.get().map_err(|error| Error::Unavailable(error.into()))?;
    // Assume the worst in case the work panics, perhaps within a transaction.
    link.broken = true;
    let began = Instant::now();
    let result = work(&mut link.conn);
    let timeout = link.timeout;
    let result = result.map_err(|error| fault::explain(error, &mut link.conn, began.elapsed(), timeout));
    link.broken = matches!(result, Err(Error::Unavailable(_) | Error::Unconfirmed(_)));
    link.used = Instant::now();
    result
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt;

    use crate::db::{Db, Location};

    /// As in a `select!` that does something else meanwhile, or a response whose client does not read.
    #[tokio::test(flavor = "multi_thread")]
    async fn task_that_is_not_polled_delays_no_other() {
        let place = tempfile::tempdir().expect("a directory");
        let db = Db::open(&Location::Sqlite(place.path().join("keydesk.sqlite3"))).expect("a database");
        let (end, ends) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let mut begun = Some(begun);
        let first = tokio::spawn({
            let db = db.clone();
            async move {
                db.write(move |_| {
                    begun.take().map(|begun| begun.send(()));
                    let _ = ends.recv();
                    Ok(())
                })
                .await
            }
        });
        begins.await.expect("the first write has begun");
        let mut paused = Box::pin(db.write(|_| Ok(())));
        assert!(paused.as_mut().now_or_never().is_none(), "it waits");
        drop(end);
        first.await.expect("no panic").expect("the first write");
        db.write(|_| Ok(())).await.expect("the next write");
        paused.await.expect("the paused write");
    }
}
