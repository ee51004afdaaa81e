//! The only loops over due work: one follows the feed of changed keys, one writes counts every
//! second and forgets what is old at each tick, one writes notices, one sends mails, one looks after
//! audit logs, one does what may take long. The work itself is in plain functions that take the time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::audit::checkpoint::Signer;
use crate::audit::upkeep;
use crate::db::Tx;
use crate::error::Result;
use crate::id::OrgId;
use crate::keys::feed;
use crate::mail::delivery::{self, Progress};
use crate::mail::outbox;
use crate::notices::{bundle, sweep};
use crate::orgs::checkpoint_mail::{self, Hand};
use crate::people::oauth::flow;
use crate::people::{links, sessions, throttle};
use crate::review::look;
use crate::time::Time;
use crate::usage;
use crate::verify::limit::State;
use crate::web::{Site, idempotency};

const FLUSH: Duration = Duration::from_secs(1);
/// How often counts are added up, at most.
const SETTLE: Duration = Duration::from_secs(1);
/// For how many times as long as adding up took there is none, and for how long at most.
const SETTLE_REST: u32 = 30;
const LONGEST_SETTLE_REST: Duration = Duration::from_secs(15);
/// How long a stop waits for counts to be added up.
const LAST_SETTLE: Duration = Duration::from_millis(500);
/// How often changes that other processes made are looked for.
const FOLLOW: Duration = Duration::from_millis(25);
/// How often a server says that it is there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How often the claim on mails that are being sent is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// How long a stop waits for mails that are being sent.
const LAST_MAILS: Duration = Duration::from_secs(5);

/// Takes in changes of keys until `stop` changes. A slow write of counts does not delay it.
pub async fn follow(site: Arc<Site>, reader: feed::Reader, mut stop: watch::Receiver<bool>) {
    let mut look = tokio::time::interval(FOLLOW);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<(i64, Instant)> = None;
    loop {
        tokio::select! {
            _ = look.tick() => {
                let began = Instant::now();
                let table = site.table.clone();
                // The database's own warnings say that it is away; the lease does the rest.
                let read = site.db.read_feed(move |conn| table.catch_up(conn, began));
                let Ok(position) = read.await else { continue };
                if told.is_none_or(|(known, at)| known != position || began - at > SIGN_OF_LIFE) {
                    let now = Time::now();
                    let note = site.db.write(move |tx| feed::note_reader(tx, &reader, position, now));
                    // Only commands wait for it; the lease must not wait for a busy writer.
                    if let Ok(Ok(processes)) = tokio::time::timeout(FLUSH, note).await {
                        told = Some((position, began));
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

/// Notes how many processes there are, and says once what that means for limits.
fn note_processes(site: &Site, processes: u32) {
    let before = site.limiter.state();
    site.limiter.note_processes(processes);
    if let (State::Exact, State::PerProcess(processes)) = (before, site.limiter.state()) {
        tracing::warn!(
            processes,
            "limits are per process: a key may make its limit of requests with each of them. Set \
             KEYDESK_VALKEY_URL, or route by key: `hash $http_authorization consistent;` in nginx's upstream"
        );
    }
}

/// Runs until `stop` changes, then writes the last counts.
pub async fn run(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut flush = tokio::time::interval(FLUSH);
    let mut due = tokio::time::interval(tick);
    loop {
        tokio::select! {
            _ = flush.tick() => write_counts(&site).await,
            _ = due.tick() => {
                if let Err(error) = forget_old(&site, Time::now()).await {
                    tracing::warn!(cause = ?error, "due work failed; it is tried again at the next tick");
                }
                site.limiter.forget_full(Instant::now());
            }
            _ = stop.changed() => break,
        }
    }
    write_counts(&site).await;
    // Once more, so that others know that this process has nothing to count any more.
    write_counts(&site).await;
    // What is left in the journal is added up by the next process to start.
    let _ = tokio::time::timeout(LAST_SETTLE, usage::sums::settle(&site.db, || false)).await;
}

/// Adds what is in the journal to the tables of sums until `stop` changes: every second where there is
/// little, less often the longer it takes.
pub async fn settle(site: Arc<Site>, mut stop: watch::Receiver<bool>) {
    let mut rest = SETTLE;
    loop {
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stop.changed() => return,
        }
        let began = Instant::now();
        if let Err(error) = usage::sums::settle(&site.db, || *stop.borrow()).await {
            tracing::warn!(cause = ?error, "counts could not be added up; they are tried again");
        }
        rest = (began.elapsed() * SETTLE_REST).clamp(SETTLE, LONGEST_SETTLE_REST);
    }
}

/// Looks at keys for the review at each tick until `stop` changes. It may take its time, so it has a
/// loop of its own.
pub async fn tidy(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(tick);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = due.tick() => {
                if let Err(error) = look::look_at_all(&site.db, Time::now, || !*stop.borrow()).await {
                    tracing::warn!(cause = ?error, "the review is not up to date; it is tried again at the next tick");
                }
            }
            _ = stop.changed() => break,
        }
    }
}

/// Tells people which keys end soon, when that is due, until `stop` changes.
pub async fn warn(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut wait = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = site.db.keys_changed() => {}
            _ = stop.changed() => return,
        }
        wait = match tell(&site).await {
            Ok(next) => next.map_or(tick, |at| tick.min(until(at))),
            Err(error) => {
                tracing::warn!(cause = ?error, "notices could not be written; they are at the next tick");
                tick
            }
        };
    }
}

/// Writes all notices that are due; returns when the next may be.
async fn tell(site: &Site) -> Result<Option<Time>> {
    let mut next = site.db.read(sweep::next_at).await?;
    while next.is_some_and(|at| at <= Time::now()) {
        // What is due and can't be had is being looked at by another process.
        if sweep::sweep_readable(&site.db, &site.mint.notices, Time::now()).await? == 0 {
            break;
        }
        next = site.db.read(sweep::next_at).await?;
    }
    while site.db.read(bundle::waits).await? {
        let now = Time::now();
        if site.db.write(move |tx| bundle::bundle(tx, now)).await? == 0 {
            break;
        }
    }
    Ok(next)
}

/// Sends mails, soon after they are queued or due and at each tick, until `stop` changes. It has a loop
/// of its own, so that a slow server delays nothing else.
pub async fn deliver(
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
                        if let Err(error) = site.db.write(move |tx| outbox::renew(tx, &worker, now)).await {
                            tracing::warn!(cause = ?error, "another process may send the same mails again");
                        }
                    }
                    _ = stop.changed() => {
                        // What has begun is ended if that is quick; else it is sent again later.
                        let _ = tokio::time::timeout(LAST_MAILS, &mut sending).await;
                        break 'work;
                    }
                }
            };
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done) => break until_next_mail(&site, tick).await,
                Ok(Progress::Away) => break tick,
                Err(error) => {
                    tracing::warn!(cause = ?error, "mails could not be sent; they are tried again at the next tick");
                    break tick;
                }
            }
        };
    }
    if let Err(error) = site.db.write(move |tx| outbox::release(tx, &worker)).await {
        tracing::warn!(cause = ?error, "mails on their way are sent again when their claim is over");
    }
}

/// How long until a mail may be due, at most until the next tick.
async fn until_next_mail(site: &Site, tick: Duration) -> Duration {
    match site.db.read(outbox::next_at).await {
        Ok(Some(at)) => tick.min(until(at)),
        // The database's own warnings say that it is away.
        Ok(None) | Err(_) => tick,
    }
}

/// The time from now to the second after an instant.
fn until(at: Time) -> Duration {
    Duration::from_secs(u64::try_from(at.since(Time::now()).max(0)).unwrap_or(0) + 1)
}

/// Checks, signs and mails audit logs until `stop` changes. A long log does not delay counts.
pub async fn look_after_logs(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut due = tokio::time::interval(tick);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Time::now();
    loop {
        tokio::select! {
            _ = due.tick() => {
                let checked = tokio::select! {
                    checked = check_logs(&site, started) => checked,
                    _ = stop.changed() => break,
                };
                if let Err(error) = checked {
                    tracing::warn!(cause = ?error, "audit logs could not be checked; it is tried again at the next tick");
                }
            }
            _ = stop.changed() => break,
        }
    }
}

async fn check_logs(site: &Site, started: Time) -> Result<()> {
    let signers = Arc::new(Signer::all(&site.mint.keyring)?);
    let now = Time::now();
    let compared = upkeep::compare(&site.db).await;
    for due in site.db.read(move |conn| upkeep::due(conn, started, now)).await? {
        // What is wrong with one log delays no other.
        if let Err(error) = upkeep::check(&site.db, due, &signers, site.public_url.host(), now).await {
            tracing::warn!(cause = ?error, "checking an audit log failed; retrying at the next tick");
        }
    }
    for org in site.db.read(checkpoint_mail::alarms_due).await? {
        let alarmed = site.db.write(move |tx| checkpoint_mail::alarm(tx, org, now)).await;
        delays_no_other(org, alarmed);
    }
    for org in site.db.read(move |conn| checkpoint_mail::due(conn, now)).await? {
        let (host, signers) = (site.public_url.host().to_owned(), signers.clone());
        let send = move |tx: &mut Tx<'_>| {
            checkpoint_mail::send_due(tx, Hand { host: &host, signers: &signers }, org, now)
        };
        delays_no_other(org, site.db.write(send).await);
    }
    compared
}

/// What is wrong with one organisation delays no other.
fn delays_no_other(org: OrgId, done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(organization = %org, cause = ?error, "a mail about an audit log could not be written; retrying at the next tick");
    }
}

async fn write_counts(site: &Site) {
    if let Err(error) = usage::flush(&site.meter, &site.db, Time::now()).await {
        tracing::warn!(cause = ?error, "counts could not be written; they are kept");
    }
}

async fn forget_old(site: &Site, now: Time) -> Result<()> {
    site.db
        .write(move |tx| {
            sessions::forget_old(tx, now)?;
            flow::forget_old(tx, now)?;
            links::forget_old(tx, now)?;
            throttle::forget_old(tx, now)?;
            idempotency::forget_old(tx, now)?;
            feed::forget_old(tx, now)?;
            outbox::forget_old(tx, now)?;
            usage::sums::forget_old(tx, now)
        })
        .await
}
