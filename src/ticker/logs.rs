//! Checks, signs and mails audit logs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::audit::checkpoint::Signer;
use crate::audit::monitor;
use crate::db::Tx;
use crate::error::Result;
use crate::id::OrgId;
use crate::orgs::checkpoint_mail::{self, SigningContext};
use crate::time::Time;
use crate::web::Site;

/// Looks after audit logs at each tick until `stop` changes.
pub(super) async fn check(site: Arc<Site>, tick: Duration, mut stop: watch::Receiver<bool>) {
    let mut due = super::every(tick);
    let started = Time::now();
    loop {
        tokio::select! {
            _ = due.tick() => {
                let checked = tokio::select! {
                    checked = check_logs(&site, started) => checked,
                    _ = stop.changed() => break,
                };
                if let Err(error) = checked {
                    tracing::warn!(cause = ?error, "checking audit logs failed; retrying at the next tick");
                }
            }
            _ = stop.changed() => break,
        }
    }
}

async fn check_logs(site: &Site, started: Time) -> Result<()> {
    let signers = Arc::new(Signer::all(&site.defaults.keyring)?);
    let now = Time::now();
    let compared = monitor::compare(&site.db).await;
    for due in site.db.read(move |conn| monitor::due(conn, started, now)).await? {
        // A fault in one log delays no other.
        if let Err(error) = monitor::check(&site.db, due, &signers, site.public_url.host(), now).await {
            tracing::warn!(cause = ?error, "checking an audit log failed; retrying at the next tick");
        }
    }
    for org in site.db.read(checkpoint_mail::alarms_due).await? {
        let alarmed = site.db.write(move |tx| checkpoint_mail::alarm(tx, org, now)).await;
        log_failure(org, alarmed);
    }
    for org in site.db.read(move |conn| checkpoint_mail::due(conn, now)).await? {
        let (host, signers) = (site.public_url.host().to_owned(), signers.clone());
        let send = move |tx: &mut Tx<'_>| {
            checkpoint_mail::send_due(tx, SigningContext { host: &host, signers: &signers }, org, now)
        };
        log_failure(org, site.db.write(send).await);
    }
    compared
}

/// Logs a failure, so that one organisation delays no other.
fn log_failure(org: OrgId, done: Result<()>) {
    if let Err(error) = done {
        tracing::warn!(organization = %org, cause = ?error, "queueing an e-mail about an audit log failed; retrying at the next tick");
    }
}
