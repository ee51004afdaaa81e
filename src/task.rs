//! Running work in its own task.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};

/// Runs `work` in its own task, and aborts it when the caller is dropped.
///
/// A future that waits in a fair queue must be polled: otherwise its turn comes but isn't taken, and
/// everybody behind it waits. Futures in a `select!` whose other branch is running aren't polled, and
/// neither is the body of a response that its client does not read. So anything that waits for a scarce
/// resource runs in here.
pub async fn drive<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (send, mut result) = oneshot::channel();
    // Boxed, so that the code of a task is compiled once, not once for each future.
    let work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = send.send(work.await);
    });
    AbortOnDropHandle::new(tokio::spawn(work)).await.map_err(Error::internal)?;
    result.try_recv().map_err(Error::internal)?
}
