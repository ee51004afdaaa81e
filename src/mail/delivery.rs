//! Sending what is due: claim, send, mark.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use futures_util::stream;

use crate::db::Db;
use crate::error::Result;
use crate::mail::claim::{self, Claimed};
use crate::mail::letter::Post;
use crate::mail::outbox::Worker;
use crate::mail::sender::Outcome;
use crate::time::Time;

/// How many mails are claimed at once.
const BATCH: i64 = 20;
/// How many mails are on their way at once.
const AT_ONCE: usize = 4;

/// What there is to do after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more.
    More,
    /// Nothing is due.
    Done,
    /// The server can't be reached; what is left waits for the next tick.
    Away,
}

/// Claims a batch of what is due, sends it and marks what became of each.
pub async fn send_batch(db: &Db, post: &Post, worker: Worker, now: Time) -> Result<Progress> {
    let claimed = db.write(move |tx| claim::claim(tx, &worker, BATCH, now)).await?;
    if claimed.is_empty() {
        return Ok(Progress::Done);
    }
    let away = AtomicBool::new(false);
    let sending = stream::iter(claimed).map(|mail| async {
        if away.load(Ordering::Relaxed) {
            return Ok(());
        }
        if send(db, post, worker, mail, now).await? {
            away.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    let marked: Vec<Result<()>> = sending.buffer_unordered(AT_ONCE).collect().await;
    if away.into_inner() {
        db.write(move |tx| claim::release(tx, &worker)).await?;
        return Ok(Progress::Away);
    }
    marked.into_iter().collect::<Result<()>>().map(|()| Progress::More)
}

/// Sends a mail and marks what became of it. Whether the server is away.
async fn send(db: &Db, post: &Post, worker: Worker, mail: Claimed, now: Time) -> Result<bool> {
    let name = format!("{}-{}", mail.id, mail.message.event());
    let outcome = match post.write(&mail) {
        Ok(mail) => post.sender.send(mail, &name).await,
        Err(words) => Outcome::Refused(words),
    };
    match &outcome {
        Outcome::Sent => tracing::debug!(mail = %mail.id, event = mail.message.event(), "mail sent"),
        Outcome::Refused(words) => {
            tracing::warn!(mail = %mail.id, event = mail.message.event(), words, "mail refused");
        }
        Outcome::Later(delay) | Outcome::Away(delay) => {
            tracing::warn!(mail = %mail.id, event = mail.message.event(), words = delay.words, "mail is tried again later");
        }
    }
    let away = matches!(outcome, Outcome::Away(_));
    db.write(move |tx| match &outcome {
        Outcome::Sent => claim::mark_sent(tx, mail.id, now),
        Outcome::Refused(words) => claim::mark_failed(tx, &worker, mail.id, words),
        Outcome::Later(delay) | Outcome::Away(delay) => claim::mark_delayed(tx, &worker, &mail, delay, now),
    })
    .await?;
    Ok(away)
}
