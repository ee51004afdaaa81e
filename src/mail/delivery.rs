//! Sending due e-mails: claim, send, mark.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream;

use crate::db::Db;
use crate::error::Result;
use crate::mail::claim::{self, ClaimedMail};
use crate::mail::mailer::Mailer;
use crate::mail::outbox::Worker;
use crate::mail::sender::Outcome;
use crate::time::Time;

/// How many e-mails are claimed at once.
const BATCH: i64 = 20;
/// How many e-mails are sent concurrently.
const AT_ONCE: usize = 4;

/// What is left after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// Nothing is due.
    Done,
    /// The server is unreachable; the rest waits for the next tick.
    Unreachable,
}

/// Claims a batch of due e-mails, sends them and records the results.
pub async fn send_batch(db: &Db, mailer: &Mailer, worker: Worker, now: Time) -> Result<Progress> {
    let claimed = db.write(move |tx| claim::claim(tx, &worker, BATCH, now)).await?;
    if claimed.is_empty() {
        return Ok(Progress::Done);
    }
    let is_unreachable = AtomicBool::new(false);
    let sending = stream::iter(claimed).map(|mail| async {
        if is_unreachable.load(Ordering::Relaxed) {
            return Ok(());
        }
        if send(db, mailer, worker, mail, now).await? {
            is_unreachable.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    let marked: Vec<Result<()>> = sending.buffer_unordered(AT_ONCE).collect().await;
    if is_unreachable.into_inner() {
        db.write(move |tx| claim::release(tx, &worker)).await?;
        return Ok(Progress::Unreachable);
    }
    marked.into_iter().collect::<Result<()>>().map(|()| Progress::More)
}

/// Sends an e-mail and records the result. Returns whether the server is unreachable.
async fn send(db: &Db, mailer: &Mailer, worker: Worker, mail: ClaimedMail, now: Time) -> Result<bool> {
    let name = format!("{}-{}", mail.id, mail.message.event());
    let outcome = match mailer.build(&mail) {
        Ok(mail) => mailer.sender.send(mail, &name).await,
        Err(words) => Outcome::Refused(words),
    };
    match &outcome {
        Outcome::Sent => tracing::debug!(mail = %mail.id, event = mail.message.event(), "e-mail sent"),
        Outcome::Refused(words) => {
            tracing::warn!(mail = %mail.id, event = mail.message.event(), words, "e-mail refused");
        }
        Outcome::Retry(delay) | Outcome::Unreachable(delay) => {
            tracing::warn!(mail = %mail.id, event = mail.message.event(), words = delay.reason, "sending an e-mail failed; retrying later");
        }
    }
    let is_unreachable = matches!(outcome, Outcome::Unreachable(_));
    db.write(move |tx| match &outcome {
        Outcome::Sent => claim::mark_sent(tx, mail.id, now),
        Outcome::Refused(words) => claim::mark_failed(tx, &worker, mail.id, words),
        Outcome::Retry(delay) | Outcome::Unreachable(delay) => {
            claim::mark_delayed(tx, &worker, &mail, delay, now)
        }
    })
    .await?;
    Ok(is_unreachable)
}
