//! Tells unknown secrets from keys. Concurrent look-ups of digests that are not in memory are batched into one query, so a
//! flood of invented secrets costs the database a few queries rather than one for each.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::crypto::Digest;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::keys::lookup;

/// The most digests of a query, so that none takes long.
const TOGETHER: usize = 256;

/// The look-ups that wait for the next query.
#[derive(Default)]
pub(super) struct Strangers {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<(Digest, oneshot::Sender<Result<bool>>)>,
    /// Whether a query is running. Look-ups that arrive meanwhile are part of the next one.
    is_running: bool,
}

impl Strangers {
    /// Whether a key's secret has this digest, by a query that begins after this call.
    ///
    /// Error: `Unavailable` if the database is unavailable.
    pub(super) async fn is_key(self: &Arc<Strangers>, db: &Db, digest: Digest) -> Result<bool> {
        let (sender, answer) = oneshot::channel();
        let idle = self.with_line(|line| {
            line.waiting.push((digest, sender));
            !std::mem::replace(&mut line.is_running, true)
        });
        if idle {
            // A separate task: it serves other requests too, and must not end with this one.
            tokio::spawn(ask(self.clone(), db.clone()));
        }
        answer.await.unwrap_or_else(|_| Err(Error::Unavailable("the server is stopping".into())))
    }

    fn with_line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        act(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs queries until no look-up waits.
async fn ask(strangers: Arc<Strangers>, db: Db) {
    loop {
        let together = strangers.with_line(|line| {
            let some = line.waiting.len().min(TOGETHER);
            line.is_running = some > 0;
            line.waiting.drain(..some).collect::<Vec<_>>()
        });
        if together.is_empty() {
            return;
        }
        let digests: Vec<Digest> = together.iter().map(|(digest, _)| *digest).collect();
        let known = db.read_for_keys(move |conn| lookup::known(conn, &digests)).await;
        for (digest, answer) in together {
            // A client that has disconnected needs no answer.
            let _ = answer.send(match &known {
                Ok(known) => Ok(known.contains(&digest)),
                Err(error) => Err(shared(error)),
            });
        }
    }
}

/// A copy of an error for one of several look-ups.
fn shared(error: &Error) -> Error {
    match error {
        Error::Unavailable(cause) => Error::Unavailable(cause.to_string().into()),
        error => Error::internal(format!("{error:?}")),
    }
}
