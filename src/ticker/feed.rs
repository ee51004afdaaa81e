//! Follows the feed of changed keys, and announces how far this process has read it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::keys::feed::{self, Reader};
use crate::time::Time;
use crate::verify::limit::State;
use crate::web::Site;

/// Time between two looks for changes that other processes made.
const POLL: Duration = Duration::from_millis(25);
/// How long an announcement may wait for the writer. Only commands wait for announcements, and the lease
/// must not wait for a busy writer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time between two announcements where several processes share the database.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// Takes in changes of keys until `stop` changes.
pub(super) async fn follow(site: Arc<Site>, reader: Reader, mut stop: watch::Receiver<bool>) {
    let started = Instant::now();
    let mut poll = super::every(POLL);
    let mut announced: Option<(i64, Instant)> = None;
    loop {
        tokio::select! {
            _ = poll.tick() => {
                let began = Instant::now();
                let is_due = announced.is_none_or(|(_, at)| began - at > SIGN_OF_LIFE);
                let table = site.table.clone();
                let read = site.db.read_feed(move |conn| {
                    let position = table.catch_up(conn, began)?;
                    // A single process has no one to notify.
                    let is_alone = is_due && feed::is_only_reader(conn, &reader)?;
                    Ok((position, is_alone))
                });
                // The pool logs that the database can't be reached, and the lease ends by itself.
                let Ok((position, is_alone)) = read.await else { continue };
                let is_news = announced.is_none_or(|(known, _)| known != position);
                if is_alone && !is_news {
                    announced = Some((position, began));
                    note_processes(&site, 1);
                } else if is_news || is_due {
                    let now = Time::now();
                    // Others have been heard from by then, if they run.
                    let may_remove = started.elapsed() > 3 * SIGN_OF_LIFE;
                    let note = site.db.write(move |tx| feed::note_reader(tx, &reader, position, may_remove, now));
                    if let Ok(Ok(processes)) = tokio::time::timeout(PATIENCE, note).await {
                        announced = Some((position, began));
                        note_processes(&site, processes);
                    }
                }
            }
            _ = stop.changed() => break,
        }
    }
    if let Err(error) = site.db.write(move |tx| feed::remove_reader(tx, &reader)).await {
        tracing::warn!(cause = ?error, "commands may wait for this server for half a minute");
    }
}

/// Passes the number of processes to the limiter, and logs once what it means for limits.
fn note_processes(site: &Site, processes: u32) {
    let before = site.limiter.state();
    site.limiter.note_processes(processes);
    if let (State::Exact, State::PerProcess(processes)) = (before, site.limiter.state()) {
        tracing::warn!(
            processes,
            "limits are per process: a key may use its whole limit with each of them. Set \
             KEYDESK_VALKEY_URL, or route by key: `hash $http_authorization consistent;` in nginx's upstream"
        );
    }
}
