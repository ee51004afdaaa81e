//! Keydesk: issue, watch and retire the API keys of an AI platform.
//!
//! # Where things are
//!
//! Faces stand above the domain, the domain above the kernel; arrows only run down.
//!
//! - [`app`]: `Application`, and every route on one screen. [`ticker`]: the only loop over due work.
//! - Faces: [`portal`] pages for people, [`api`] JSON for programs, [`gateway`] inference,
//!   [`cli`] commands. A file has the name of what it shows.
//! - [`web`]: what the faces share: who calls, permissions, sessions, problems, pages, assets.
//! - Domain: [`verify`] may this key do this? · [`keys`] the life of a key · [`orgs`]
//!   organisations, members, invitations, policy · [`people`] and how they sign in ·
//!   [`audit`] the log · [`usage`] counts · [`review`] what should not stay as it is ·
//!   [`notices`] who is told that a key ends, and when · [`mail`] written, queued, sent.
//! - Kernel: [`db`], [`schema`], [`installation`], [`config`], [`email`], [`error`], [`crypto`], [`id`],
//!   [`path`], [`remembered`], [`role`], [`scope`], [`task`], [`text`], [`time`].
//!
//! # Invariants
//!
//! 1. A secret exists in clear in one answer only, and for ten minutes sealed for its replay.
//!    Its type can't be printed, logged, serialised or compared in variable time.
//! 2. Every route states its permission in [`app::routes`]; without one it does not compile.
//!    Ids of other organisations are 404.
//! 3. Every query starts from an organisation, the look-up of a key by its digest excepted.
//! 4. A request has one kind of credential, decided in [`web::gate`]. Links come from
//!    `KEYDESK_PUBLIC_URL` alone.
//! 5. The time enters at a handler, the ticker or the command line, and is an argument below.
//! 6. No `unsafe`, no `unwrap` outside tests, no SQL by string but aggregates and orders without input.
//! 7. An acknowledged change survives `kill -9`; at most the last second of counts is lost.
//! 8. Every change requires a right that the acting principal holds at the commit ([`authority`]).
//! 9. All external input has a size limit, a deadline and a place in a bounded queue ([`web::body`],
//!    [`web::connections`]).
//! 10. Without the root secret, no one can alter the audit log and have Keydesk sign the result
//!     ([`audit::head`], [`audit::register`]).

#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod api;
#[expect(clippy::disallowed_methods, reason = "a start reads the clock")]
pub mod app;
pub mod audit;
pub mod authority;
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
pub mod keys;
pub mod mail;
pub mod notices;
pub mod orgs;
pub mod path;
pub mod people;
#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod portal;
pub mod refusal;
pub mod remembered;
pub mod review;
pub mod role;
pub mod schema;
pub mod scope;
pub mod task;
pub mod text;
#[expect(clippy::disallowed_methods, reason = "a tick reads the clock")]
pub mod ticker;
pub mod time;
pub mod usage;
pub mod verify;
#[expect(clippy::disallowed_methods, reason = "handlers read the clock")]
pub mod web;
