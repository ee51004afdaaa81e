//! Sends queued e-mails.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::mail::delivery::{self, Progress};
use crate::mail::{claim, outbox};
use crate::time::Time;
use crate::web::Site;

/// Time between two renewals of the claim on e-mails that are being sent.
const RENEW: Duration = Duration::from_secs(10);
/// How long a stopping process may finish sending.
const LAST_MAILS: Duration = Duration::from_secs(5);

/// Sends e-mails soon after they are queued or due, and at each tick, until `stop` changes.
pub(super) async fn deliver(
    site: Arc<Site>,
    worker: outbox::Worker,
    tick: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let mut wait = Duration::ZERO;
    let mut hold = tokio::time::interval(RENEW);
    hold.reset();
    'work: loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = site.db.mail_queued() => {}
            _ = stop.changed() => break,
        }
        wait = loop {
            let sending = delivery::send_batch(&site.db, &site.post, worker, Time::now());
            tokio::pin!(sending);
            let progress = loop {
                tokio::select! {
                    progress = &mut sending => break progress,
                    _ = hold.tick() => {
                        let now = Time::now();
                        if let Err(error) = site.db.write(move |tx| claim::renew(tx, &worker, now)).await {
                            tracing::warn!(cause = ?error, "renewing the claim on e-mails failed; another process may send them again");
                        }
                    }
                    _ = stop.changed() => {
                        // E-mails that take longer are sent again later.
                        let _ = tokio::time::timeout(LAST_MAILS, &mut sending).await;
                        break 'work;
                    }
                }
            };
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => break until_next_mail(&site, tick).await,
                Ok(Progress::Unreachable) => break tick,
                Err(error) => {
                    tracing::warn!(cause = ?error, "sending e-mails failed; retrying at the next tick");
                    break tick;
                }
            }
        };
    }
    if let Err(error) = site.db.write(move |tx| claim::release(tx, &worker)).await {
        tracing::warn!(cause = ?error, "releasing claimed e-mails failed; they are sent when the claim ends");
    }
}

/// The time until an e-mail may be due, at most until the next tick.
async fn until_next_mail(site: &Site, tick: Duration) -> Duration {
    match site.db.read(outbox::next_at).await {
        Ok(Some(at)) => tick.min(super::until(at)),
        // The pool logs that the database can't be reached.
        Ok(None) | Err(_) => tick,
    }
}
