//! The application: how it is put together, starts and stops. Every route stands in `app/routes.rs`.

mod listen;
mod mount;
mod routes;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix_server::Server;
use actix_web::middleware::from_fn;
use actix_web::{App, web as actix};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::app::mount::mount;
use crate::app::routes::{Endpoint, routes};
use crate::config::{Config, PublicUrl};
use crate::crypto::{self, Keyring};
use crate::db::Db;
use crate::gateway::upstream::Upstream;
use crate::keys::feed;
use crate::keys::lifecycle::{self, Mint};
use crate::keys::list::Numbers;
use crate::mail::letter::Post;
use crate::mail::sender::Sender;
use crate::mail::sheet::Links;
use crate::notices::schedule::Steps;
use crate::people::oauth::{Kind, Providers};
use crate::ticker;
use crate::time::Time;
use crate::usage::journal::Writer;
use crate::usage::meter::Meter;
use crate::verify::limit::Limiter;
use crate::verify::limit::shared::Shared as SharedLimits;
use crate::verify::table::Table;
use crate::web::connections::{Connections, Limits};
use crate::web::permission::{self};
use crate::web::{Site, envelope, idempotency, redact};

/// Why the server could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A route has no permission, or a permission no route.
    #[error("the permission table does not fit the routes: {0}")]
    Permissions(String),
    /// A parameter in a path is neither declared secret nor public.
    #[error("web::redact does not say whether the parameter {0} is a secret")]
    Parameter(String),
    /// The address can't be listened on.
    #[error("KEYDESK_LISTEN {address} can't be listened on: {cause}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
    /// A client for others can't be made.
    #[error("a client for the upstream or a sign-in provider can't be made: {0}")]
    Client(#[from] reqwest::Error),
    /// The domain refuses.
    #[error(transparent)]
    Domain(#[from] crate::error::Error),
}

/// How long before the end of a stop open streams are told that there is no more, at most.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long a stop waits for the database and for mails on their way after the last answer.
const LAST_WRITES: Duration = Duration::from_secs(8);

/// A server that is bound and ready to run.
pub struct Application {
    server: Server,
    connections: Arc<Connections>,
    site: Arc<Site>,
    address: SocketAddr,
    tick: Duration,
    /// How long it serves on after it was asked to stop.
    drain: Duration,
    stop_timeout: Duration,
    reader: feed::Reader,
}

impl Application {
    /// Binds the address and puts everything together.
    pub async fn build(config: Config, db: Db, keyring: Keyring) -> Result<Application, BuildError> {
        check_permissions(&routes())?;
        let Config { options, github, oidc, .. } = config;
        let failed = |cause| BuildError::Listen { address: options.listen, cause };
        let listener = listen::bind(options.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mint = Mint {
            keyring,
            prefix: options.key_prefix,
            notices: Steps::new(options.notices),
            default_rpm: options.default_rpm,
        };
        let notices = mint.notices.clone();
        db.write(move |tx| lifecycle::mark_expiring(tx, &notices, Time::now())).await?;
        let table = Arc::new(
            Table::new(options.max_staleness, &db, Instant::now())
                .with_roots(&mint.keyring, db.logs().clone()),
        );
        let heard = table.clone();
        db.after_change(Box::new(move |conn| {
            if let Err(error) = heard.catch_up(conn, Instant::now()) {
                tracing::warn!(cause = ?error, "a change could not be taken in; keys are refused until it is");
                heard.lapse();
            }
        }));
        let first = table.clone();
        db.read(move |conn| first.catch_up(conn, Instant::now())).await?;
        let public_url = options.public_url.unwrap_or_else(|| PublicUrl::loopback(address.port()));
        let post = Post {
            sender: Sender::new(options.mail_server, options.data_dir.join("mail")),
            from: options.mail_from,
            links: Links { public_url: public_url.clone(), keyring: mint.keyring.clone() },
        };
        let redirect = |kind: Kind| public_url.link(&format!("/sign-in/{}/callback", kind.name()));
        let providers = Providers::new(oidc, github, redirect)?;
        let mut reader = feed::Reader::default();
        crypto::fill_random(&mut reader)?;
        let shared_limits = options.valkey.map(|client| Arc::new(SharedLimits::new(client)));
        if let Some(shared) = &shared_limits {
            shared.begin().await;
        }
        let site = Arc::new(Site {
            db,
            table,
            mint,
            public_url,
            post,
            providers,
            trusted_proxies: options.trusted_proxies.clone(),
            limiter: Limiter::new(Instant::now(), shared_limits),
            meter: Meter::new(Writer::new(reader), Time::now()),
            rankings: Arc::default(),
            numbers: Numbers::default(),
            running: idempotency::Running::default(),
            bodies: Arc::default(),
            is_stopping: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        });
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let upstream = actix::Data::new(Upstream::new(options.upstream_url, options.upstream_key, workers)?);
        let shared = site.clone();
        let limits = Limits::of_descriptors(raise_descriptors());
        tracing::debug!(?limits, "connections are limited");
        let connections = Connections::new(limits, options.trusted_proxies, options.keep_alive);
        let application = move || {
            App::new()
                .app_data(actix::Data::new(shared.clone()))
                .app_data(upstream.clone())
                .wrap(from_fn(envelope::wrap))
                .configure(|service| mount(service, &shared))
        };
        let patience = server::Patience { keep_alive: options.keep_alive, stop: options.stop_timeout };
        let server = server::serve(listener, workers, patience, &connections, application).map_err(failed)?;
        let (tick, drain, stop_timeout) = (options.tick, options.drain, options.stop_timeout);
        Ok(Application { server, connections, site, address, tick, drain, stop_timeout, reader })
    }

    /// The bound address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What handlers share.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Serves until `stop` resolves. Then it is not ready any more, but serves on until load balancers
    /// have noticed; then it answers what has begun, and writes the last counts.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let follower = tokio::spawn(ticker::follow(self.site.clone(), self.reader, stopped.clone()));
        let warner = tokio::spawn(ticker::warn(self.site.clone(), self.tick, stopped.clone()));
        let postman =
            tokio::spawn(ticker::deliver(self.site.clone(), self.reader, self.tick, stopped.clone()));
        let tidier = tokio::spawn(ticker::tidy(self.site.clone(), self.tick, stopped.clone()));
        let logs = tokio::spawn(ticker::look_after_logs(self.site.clone(), self.tick, stopped.clone()));
        let settler = tokio::spawn(ticker::settle(self.site.clone(), stopped.clone()));
        let ticker = tokio::spawn(ticker::run(self.site.clone(), self.tick, stopped));
        let watched = Arc::downgrade(&self.connections);
        let watch = tokio::spawn(Connections::look_after(watched));
        let handle = self.server.handle();
        let running = tokio::spawn(self.server);
        stop.await;
        self.site.is_stopping.store(true, Relaxed);
        if !self.drain.is_zero() {
            tracing::info!(seconds = self.drain.as_secs(), "stopping: not ready any more, but still serving");
            tokio::time::sleep(self.drain).await;
        }
        tracing::info!("stopping: open requests are answered first");
        let closing = self.site.clone();
        let patience = self.stop_timeout - LAST_WORDS.min(self.stop_timeout / 2);
        let last_words = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            closing.is_closing.store(true, Relaxed);
        });
        handle.stop(true).await;
        last_words.abort();
        running.await.map_err(std::io::Error::other)??;
        watch.abort();
        // Last, so that the counts of the last requests are written too.
        stopping.send_replace(true);
        let ended = async {
            for task in [ticker, follower, warner, postman, tidier, logs, settler] {
                task.await.map_err(std::io::Error::other)?;
            }
            Ok(())
        };
        match tokio::time::timeout(LAST_WRITES, ended).await {
            Ok(ended) => ended,
            Err(_) => {
                tracing::warn!(
                    "stopped without waiting any longer for the database; the last counts may be lost"
                );
                Ok(())
            }
        }
    }
}

/// Lets the process open as many descriptors as the system grants, and returns how many that are.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(%error, "the limit of open files can't be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Compares routes and permission table: each must have exactly one line in the other.
fn check_permissions(routes: &[Endpoint]) -> Result<(), BuildError> {
    let routes: Vec<(&str, &'static str)> = routes.iter().map(|(method, path, _)| (*method, *path)).collect();
    let lines: Vec<(&str, &str)> =
        permission::TABLE.iter().map(|(method, path, _)| (*method, *path)).collect();
    let missing = routes.iter().find(|route| lines.iter().filter(|line| line == route).count() != 1);
    let unused = lines.iter().find(|line| routes.iter().filter(|route| route == line).count() != 1);
    match missing.or(unused) {
        Some((method, path)) => Err(BuildError::Permissions(format!("{method} {path}"))),
        None => check_parameters(&routes),
    }
}

/// Every parameter in a path must be classified, or it could end up in a log.
fn check_parameters(routes: &[(&str, &'static str)]) -> Result<(), BuildError> {
    match routes.iter().find_map(|(_, path)| redact::unclassified(path)) {
        Some(parameter) => Err(BuildError::Parameter(parameter.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_one_permission_and_every_permission_a_route() {
        assert!(check_permissions(&routes()).is_ok());
    }

    #[test]
    fn a_route_without_permission_stops_the_start() {
        let mut routes = routes();
        routes.push(("GET", "/forgotten", || actix::get().to(crate::web::health::alive)));
        assert!(
            matches!(check_permissions(&routes), Err(BuildError::Permissions(route)) if route == "GET /forgotten")
        );
    }

    #[test]
    fn parameter_that_nobody_classified_stops_the_start() {
        for path in
            ["/forgotten/{ticket}", "/forgotten/{ticket}.ics", "/a/{b:.*}", "/x-{token}", "/{token}-{id}"]
        {
            let refused = check_parameters(&[("GET", "/healthz"), ("GET", path)]);
            assert!(matches!(refused, Err(BuildError::Parameter(_))), "{path}");
        }
        assert!(check_parameters(&[("GET", "/new/{token}"), ("GET", "/new/{token}.ics")]).is_ok());
    }

    #[test]
    fn whatever_changes_something_needs_more_than_reading() {
        // A member's own address for their calendar: it reads no more than they do.
        let own = ["/o/{org}/calendar", "/o/{org}/calendar/end"];
        for (method, path, permission) in permission::TABLE {
            let reads = matches!(
                permission,
                permission::Permission::Member(crate::role::Act::ReadKeys) | permission::Permission::Public
            );
            assert!(*method == "GET" || !reads || own.contains(path), "{method} {path}");
        }
    }
}
