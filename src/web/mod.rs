//! What the faces share: who calls, what a route needs, how errors look, pages, assets.

pub mod address;
pub mod assets;
pub mod body;
pub mod connections;
pub mod csrf;
pub mod csv;
pub mod device;
pub mod download;
pub mod endpoint;
pub mod envelope;
pub mod error_page;
pub mod form;
pub mod fresh;
pub mod gate;
pub mod health;
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
pub mod ticket;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipnet::IpNet;

use crate::config::PublicUrl;
use crate::db::Db;
use crate::keys::lifecycle::KeyDefaults;
use crate::keys::list;
use crate::mail::letter::Post;
use crate::people::oauth::Providers;
use crate::review::scan::Scans;
use crate::usage::meter::Meter;
use crate::usage::ranking::Rankings;
use crate::verify::limit::Limiter;
use crate::verify::table::Table;

/// What every handler can reach: shared by all threads of the process.
pub struct Site {
    /// The database.
    pub db: Db,
    /// What new keys need, and the keys to derive digests with.
    pub mint: KeyDefaults,
    /// The origin of all links.
    pub public_url: PublicUrl,
    /// What mails need to leave.
    pub post: Post,
    /// Proxies whose word about client addresses counts.
    pub trusted_proxies: Vec<IpNet>,
    /// The keys in memory.
    pub table: Arc<Table>,
    /// The limits of keys.
    pub limiter: Limiter,
    /// The counts of requests.
    pub meter: Meter,
    /// What is remembered of what large organisations used.
    pub rankings: Arc<Rankings>,
    /// When the keys of organisations were last scanned for the review.
    pub scans: Scans,
    /// What is remembered of how many keys large organisations have.
    pub numbers: list::Numbers,
    /// The providers by which people sign in.
    pub providers: Providers,
    /// Idempotent requests that are being answered right now.
    pub running: idempotency::Running,
    /// How many bytes of request bodies are held at once.
    pub bodies: Arc<body::budget::Budget>,
    /// Whether the process was asked to stop: it serves on for a while, but is not ready any more.
    pub is_stopping: AtomicBool,
    /// Whether what is still open has to end now, because the process stops in a moment.
    pub is_closing: AtomicBool,
}

/// The site as actix hands it to handlers.
pub type Shared = actix_web::web::Data<Arc<Site>>;
