//! Keydesk from outside: the real binary, over HTTP and its command line.
//!
//! Every test has its own server and database: an SQLite file or, if `KEYDESK_TEST_DATABASE` names a PostgreSQL
//! server, a database there. A test whose program is missing fails; one that needs PostgreSQL is ignored unless
//! `tests/run postgres` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test compares with the clock")]
#![allow(clippy::print_stdout, reason = "the size of a matrix is told with --nocapture")]
#![allow(unreachable_pub, reason = "the names are sentences")]

mod support;

mod account;
mod api_keys;
mod assets;
mod audit_erasing;
mod audit_log;
mod audit_pages;
mod audit_tampering;
mod authority;
mod bad_input;
mod body_limits;
mod bounds;
mod calendar;
mod catalogue;
mod checkpoint_mail;
mod client_address;
mod commands;
mod content_encodings;
mod cors;
mod counting;
mod crowded_mail;
mod date_fields;
mod docs;
mod due;
mod durability;
mod email_addresses;
mod ended_secrets;
mod flags;
mod forward_auth;
mod fresh_sign_in;
mod gateway;
mod gateway_headers;
mod idempotency;
mod inference;
mod introspection;
mod invitations;
mod languages;
mod letters;
mod limit_requests;
mod limits;
mod long_responses;
mod mail;
mod matrix;
mod members;
mod migrations;
mod misdirected;
mod models;
mod models_page;
mod notices;
mod offboarding;
mod oidc_personalities;
mod oidc_several;
mod one_entry;
mod openapi;
mod outage;
mod outbound;
mod permissions;
mod policy;
mod portal_keys;
mod portal_rotation;
mod providers;
mod quiet;
mod recovery;
mod redaction;
mod refusals;
mod review;
mod roles;
mod root_secret;
mod rotation;
mod rotation_storm;
mod routing;
mod same_names;
mod sessions;
mod setup_page;
mod shared_limits;
mod stand_ins;
mod start;
mod strangers;
mod streams;
mod throttle;
mod token_counts;
mod token_totals;
mod undeliverable_mail;
mod unsuitable;
mod unsuitable_files;
mod upstream_failures;
mod upstream_silence;
mod usage;
mod usage_pages;
mod usage_ranking;
mod verify;
