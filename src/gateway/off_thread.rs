//! Work that takes long enough to hold up other requests of its thread.

use actix_web::web;

/// A longer text is read on another thread, so that it holds up no other request. In bytes.
const LONG: usize = 256 * 1024;

/// Does work on a text of this length, on another thread if that takes long. `None` if the process is about to stop.
pub(super) async fn off_thread<T: Send + 'static>(
    length: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if length <= LONG { Some(work()) } else { web::block(work).await.ok() }
}
