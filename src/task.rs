//! Work that goes on by itself.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Result};

/// Does the work in a task of its own, and gives it up when the caller no longer waits.
///
/// A future that waits in a queue must be polled: its turn comes all the same, and until it is
/// polled again, nobody else's does. A future that another branch of `select!` holds up, or the
/// body of a response that its client does not read, isn't. So whatever waits for something
/// scarce does it in here.
pub async fn drive<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let (send, mut result) = oneshot::channel();
    // Boxed, so that the code of a task is compiled once, not once for each future.
    let work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        let _ = send.send(work.await);
    });
    AbortOnDropHandle::new(tokio::spawn(work)).await.map_err(Error::internal)?;
    result.try_recv().map_err(Error::internal)?
}
