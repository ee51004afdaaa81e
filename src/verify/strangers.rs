//! Telling strangers from keys: whoever presents a digest that is not in memory waits for the
//! next question to the database, and one question asks for all who wait. So a flood of secrets
//! that nobody made, each another, costs the database a few questions and not one a secret.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::crypto::Digest;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::keys::presented;

/// How many digests one question names at most, so that none takes long.
const TOGETHER: usize = 256;

/// Those who wait for the next question.
#[derive(Default)]
pub(super) struct Strangers {
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    waiting: Vec<(Digest, oneshot::Sender<Result<bool>>)>,
    /// Whether someone asks; who comes meanwhile is asked for next.
    asked_for: bool,
}

impl Strangers {
    /// Whether some key's secret has this digest, by a reading of the database that begins after
    /// this call.
    ///
    /// Errors: unavailable when the database can't be asked.
    pub(super) async fn is_key(self: &Arc<Strangers>, db: &Db, digest: Digest) -> Result<bool> {
        let (answer, told) = oneshot::channel();
        let idle = self.with_line(|line| {
            line.waiting.push((digest, answer));
            !std::mem::replace(&mut line.asked_for, true)
        });
        if idle {
            // A task of its own: it asks for others too and must not end with this caller's call.
            tokio::spawn(ask(self.clone(), db.clone()));
        }
        told.await.unwrap_or_else(|_| Err(Error::Unavailable("the server is stopping".into())))
    }

    fn with_line<T>(&self, act: impl FnOnce(&mut Line) -> T) -> T {
        act(&mut self.line.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Asks until nobody waits.
async fn ask(strangers: Arc<Strangers>, db: Db) {
    loop {
        let together = strangers.with_line(|line| {
            let some = line.waiting.len().min(TOGETHER);
            line.asked_for = some > 0;
            line.waiting.drain(..some).collect::<Vec<_>>()
        });
        if together.is_empty() {
            return;
        }
        let digests: Vec<Digest> = together.iter().map(|(digest, _)| *digest).collect();
        let known = db.read_for_keys(move |conn| presented::known(conn, &digests)).await;
        for (digest, answer) in together {
            // Whoever has gone meanwhile needs no answer.
            let _ = answer.send(match &known {
                Ok(known) => Ok(known.contains(&digest)),
                Err(error) => Err(shared(error)),
            });
        }
    }
}

/// An error for one of several who asked together.
fn shared(error: &Error) -> Error {
    match error {
        Error::Unavailable(cause) => Error::Unavailable(cause.to_string().into()),
        error => Error::internal(format!("{error:?}")),
    }
}
