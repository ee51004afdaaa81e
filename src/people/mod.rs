//! People: who they are and how they prove it.
//!
//! Ways to sign in are rows of their own, so that more kinds can join the password.

pub mod address;
pub mod credential;
pub mod links;
pub mod methods;
pub mod notice;
pub mod oauth;
pub mod password;
pub mod principal;
pub mod recovery;
pub mod reset;
pub mod sessions;
pub mod sign_in;
pub mod store;
pub mod throttle;
