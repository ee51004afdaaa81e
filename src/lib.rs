//! Keydesk: issue, watch and retire the API keys of an AI platform.
//!
//! # Where things are
//!
//! Interfaces stand above the domain, and the domain above the foundation. Dependencies only run down, and there are
//! no cycles; `structure.rs` checks both.
//!
//! - [`app`]: builds and runs the application, and lists every route. [`ticker`]: starts all loops over due work.
//! - Interfaces: [`portal`] pages for people, [`api`] JSON for programs, [`gateway`] inference, [`cli`] commands. A
//!   file is named after what it shows.
//! - [`web`]: what the interfaces share: principals, permissions, sessions, problems, pages, assets.
//! - Domain: [`verify`] checks keys · [`keys`] their life · [`orgs`] organisations, members, invitations, policy ·
//!   [`people`] and how they sign in · [`audit`] the log · [`usage`] counts · [`review`] keys that need attention ·
//!   [`notices`] about keys that expire · [`mail`] rendered, queued, sent · [`catalogue`] models and their prices.
//! - Foundation: [`db`], [`schema`], [`installation`], [`config`], [`authority`], [`email`], [`error`],
//!   [`crypto`], [`id`], [`key_text`], [`path`], [`refusal`], [`role`], [`scope`], [`slow_cache`], [`task`], [`text`],
//!   [`time`].
//!
//! # Invariants
//!
//! 1. A secret exists in plaintext in one response only, and for ten minutes sealed for its replay. Its type can't be
//!    printed, logged, serialised or compared in variable time.
//! 2. Every route states its permission in [`app::routes`]; without one it does not compile. Another organisation's ids
//!    return 404.
//! 3. Every query on behalf of someone starts from an organisation, except the look-up of a key by its digest. Due work
//!    reads all organisations.
//! 4. A request has one kind of credential, decided in [`web::gate`]. Links come only from `KEYDESK_PUBLIC_URL`.
//! 5. The time enters at a handler, the ticker or the command line, and is an argument below.
//! 6. No `unsafe`, no `unwrap` outside tests. SQL strings only in named places that take no input.
//! 7. An acknowledged change survives `kill -9`; at most the last second of counts is lost.
//! 8. Every change requires a right that the acting principal holds at the commit ([`authority`]).
//! 9. All external input has a size limit, a deadline and a place in a bounded queue ([`web::body`],
//!    [`web::connections`]).
//! 10. An idle server writes nothing, and a GET changes nothing.
//! 11. Without the root secret, no one can alter the audit log and have Keydesk sign the result ([`audit::head`],
//!     [`audit::register`]).

#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod api;
#[expect(clippy::disallowed_methods, reason = "a start reads the clock")]
pub mod app;
pub mod audit;
pub mod authority;
pub mod catalogue;
#[expect(clippy::disallowed_methods, reason = "commands read the clock")]
pub mod cli;
pub mod config;
pub mod crypto;
pub mod db;
pub mod email;
pub mod error;
#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod gateway;
pub mod id;
pub mod installation;
pub mod key_text;
pub mod keys;
pub mod mail;
pub mod notices;
pub mod orgs;
pub mod path;
pub mod people;
#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod portal;
pub mod refusal;
pub mod review;
pub mod role;
pub mod schema;
pub mod scope;
pub mod slow_cache;
#[cfg(test)]
mod structure;
pub mod task;
pub mod text;
#[expect(clippy::disallowed_methods, reason = "a tick reads the clock")]
pub mod ticker;
pub mod time;
pub mod usage;
pub mod verify;
#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod web;
