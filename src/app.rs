//! Builds, starts and stops the server. `routes.rs` lists every route.

mod listen;
mod mount;
pub mod routes;
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

use crate::api::openapi::SharedDocument;
use crate::app::mount::mount;
use crate::catalogue::current::CurrentCatalogue;
use crate::config::{Config, PublicUrl};
use crate::crypto::{self, Keyring};
use crate::db::Db;
use crate::gateway::router::Router;
use crate::gateway::upstream::{ClientOptions, Patience, Upstream};
use crate::keys::feed;
use crate::keys::lifecycle::{self, KeyDefaults};
use crate::keys::list::Numbers;
use crate::mail::context::Links;
use crate::mail::mailer::Mailer;
use crate::mail::sender::Sender;
use crate::notices::schedule::Steps;
use crate::path;
use crate::people::oauth::{ProviderId, Providers};
use crate::review::scan::Scans;
use crate::ticker;
use crate::time::Time;
use crate::usage::journal::Writer;
use crate::usage::meter::Meter;
use crate::verify::limit::Limiter;
use crate::verify::limit::shared::Shared as SharedLimits;
use crate::verify::table::Table;
use crate::web::body::budget::Budget;
use crate::web::connections::{Connections, Limits};
use crate::web::{Site, envelope, idempotency};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("KEYDESK_LISTEN {address} can't be listened on: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error("a client for the upstream or a sign-in provider can't be made: {0}")]
    Client(#[from] reqwest::Error),
    #[error(transparent)]
    Domain(#[from] crate::error::Error),
}

/// How long before the stop timeout open streams are ended, at most.
const STREAM_END: Duration = Duration::from_secs(2);
/// How long a stop waits after the last response for the database and for e-mails that are being sent.
const LAST_WRITES: Duration = Duration::from_secs(8);

/// A server that is listening and ready to run.
pub struct Application {
    server: Server,
    connections: Arc<Connections>,
    site: Arc<Site>,
    address: SocketAddr,
    tick: Duration,
    /// How long it still accepts requests after it was asked to stop.
    drain: Duration,
    stop_timeout: Duration,
    reader: feed::Reader,
}

impl Application {
    /// Listens on the address and builds everything the server needs.
    pub async fn build(
        config: Config,
        db: Db,
        keyring: Keyring,
        catalogue: Arc<CurrentCatalogue>,
    ) -> Result<Application, BuildError> {
        let Config { options, github, oidc, outbound, .. } = config;
        let failed = |cause| BuildError::Listen { address: options.listen, cause };
        let listener = listen::bind(options.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let defaults = KeyDefaults {
            keyring,
            prefix: options.key_prefix,
            notices: Steps::new(options.notices),
            default_rpm: options.default_rpm,
            catalogue: catalogue.clone(),
        };
        let notices = defaults.notices.clone();
        db.write(move |tx| lifecycle::mark_expiring(tx, &notices, Time::now())).await?;
        let table = Arc::new(
            Table::new(options.max_staleness, &db, Instant::now())
                .with_roots(&defaults.keyring, db.logs().clone()),
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
        let post = Mailer {
            sender: Sender::new(options.mail_server, options.data_dir.join("mail")),
            from: options.mail_from,
            links: Links { public_url: public_url.clone(), keyring: defaults.keyring.clone() },
        };
        let redirect = |id: ProviderId| {
            public_url.link(&match id {
                ProviderId::Oidc(1) => path::sign_in_oidc_callback(),
                ProviderId::Oidc(number) => path::sign_in_oidc_numbered_callback(&number),
                ProviderId::GitHub => path::sign_in_github_callback(),
            })
        };
        let providers = Providers::new(oidc, github, redirect, &outbound)?;
        let mut reader = feed::Reader::default();
        crypto::fill_random(&mut reader)?;
        let shared_limits = options.valkey.map(|client| Arc::new(SharedLimits::new(client)));
        if let Some(shared) = &shared_limits {
            shared.begin().await;
        }
        let site = Arc::new(Site {
            db,
            table,
            defaults,
            public_url,
            post,
            providers,
            cors_origins: options.cors_origins,
            catalogue,
            health: Arc::default(),
            trusted_proxies: options.trusted_proxies.clone(),
            limiter: Limiter::new(Instant::now(), shared_limits),
            meter: Meter::new(Writer::new(reader), Time::now()),
            rankings: Arc::default(),
            scans: Scans::default(),
            numbers: Numbers::default(),
            running: idempotency::Running::default(),
            bodies: Arc::new(Budget::new(options.max_body)),
            is_stopping: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        });
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let (url, key, patience) = (options.upstream_url, options.upstream_key, options.upstream_timeout);
        let patience = Patience { time: patience, setting: "KEYDESK_UPSTREAM_TIMEOUT" };
        let clients = ClientOptions { patience, threads: workers, outbound };
        let single = Upstream::new(url, key, &clients)?;
        let router = Router::new(site.catalogue.clone(), single, clients, site.health.clone())?;
        let router = actix::Data::new(router);
        let document: SharedDocument = actix::Data::new(routes::document());
        let shared = site.clone();
        let limits = Limits::of_descriptors(raise_descriptors());
        tracing::debug!(?limits, "connections are limited");
        let connections = Connections::new(limits, options.trusted_proxies, options.keep_alive);
        let application = move || {
            App::new()
                .app_data(actix::Data::new(shared.clone()))
                .app_data(router.clone())
                .app_data(document.clone())
                .wrap(from_fn(envelope::wrap))
                .configure(|service| mount(service, &shared))
        };
        let patience = server::Patience { keep_alive: options.keep_alive, stop: options.stop_timeout };
        let server = server::serve(listener, workers, patience, &connections, application).map_err(failed)?;
        let (tick, drain, stop_timeout) = (options.tick, options.drain, options.stop_timeout);
        Ok(Application { server, connections, site, address, tick, drain, stop_timeout, reader })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The state that handlers share.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Serves until `stop` resolves. Then `/readyz` reports not ready while load balancers move
    /// traffic away, open requests finish, and the last counts are written.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> std::io::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let loops = ticker::start(&self.site, self.reader, self.tick, &stopped);
        let watched = Arc::downgrade(&self.connections);
        let watch = tokio::spawn(Connections::cut_overdue_regularly(watched));
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
        let patience = self.stop_timeout - STREAM_END.min(self.stop_timeout / 2);
        let stream_end = tokio::spawn(async move {
            tokio::time::sleep(patience).await;
            closing.is_closing.store(true, Relaxed);
        });
        handle.stop(true).await;
        stream_end.abort();
        running.await.map_err(std::io::Error::other)??;
        watch.abort();
        // After the last response, so that its counts are written too.
        stopping.send_replace(true);
        let ended = async {
            for task in loops {
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

/// Raises the limit of open file descriptors to the hard limit and returns it.
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
