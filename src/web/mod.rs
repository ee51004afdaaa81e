//! Shared by the interfaces: principals, permissions, errors, pages, assets.

pub mod address;
pub mod assets;
pub mod body;
pub mod connections;
pub mod cors;
pub mod csrf;
pub mod csv;
pub mod device;
pub mod download;
pub mod encoding;
pub mod endpoint;
pub mod envelope;
pub mod error_page;
pub mod form;
pub mod fresh;
pub mod gate;
pub mod health;
pub mod host;
pub mod idempotency;
pub mod page;
pub mod pairs;
pub mod permission;
pub mod principal;
pub mod problem;
pub mod providers;
pub mod redact;
pub mod request;
pub mod session;
pub mod stray;
pub mod ticket;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipnet::IpNet;

use crate::catalogue::current::CurrentCatalogue;
use crate::catalogue::health::Health;
use crate::config::PublicUrl;
use crate::db::Db;
use crate::keys::lifecycle::KeyDefaults;
use crate::keys::list;
use crate::mail::mailer::Mailer;
use crate::people::oauth::Providers;
use crate::review::scan::Scans;
use crate::usage::meter::Meter;
use crate::usage::ranking::Rankings;
use crate::verify::limit::Limiter;
use crate::verify::table::Table;

/// The state that every handler can access, shared by all threads of the process.
pub struct Site {
    pub db: Db,
    /// Defaults for new keys, and the keyring.
    pub defaults: KeyDefaults,
    /// The origin of all links.
    pub public_url: PublicUrl,
    pub post: Mailer,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The keys in memory.
    pub table: Arc<Table>,
    pub limiter: Limiter,
    pub meter: Meter,
    /// Cached usage rankings of large organisations.
    pub rankings: Arc<Rankings>,
    /// When the keys of organisations were last scanned for the review.
    pub scans: Scans,
    /// Cached key counts of large organisations.
    pub numbers: list::Numbers,
    /// The models that clients can call.
    pub catalogue: Arc<CurrentCatalogue>,
    /// How the upstreams of the catalogue did lately.
    pub health: Arc<Health>,
    /// The sign-in providers.
    pub providers: Providers,
    /// Requests with an idempotency key that are being answered.
    pub running: idempotency::Running,
    /// The memory budget of request bodies.
    pub bodies: Arc<body::budget::Budget>,
    /// Whether the process was asked to stop: it still serves requests but is not ready any more.
    pub is_stopping: AtomicBool,
    /// Whether open responses have to end now, because the process is about to stop.
    pub is_closing: AtomicBool,
}

/// The site as an actix extractor.
pub type Shared = actix_web::web::Data<Arc<Site>>;
