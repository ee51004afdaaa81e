//! People: who they are and how they prove it.
//!
//! Ways to sign in are rows of their own, so that more kinds can join the password.

pub mod methods;
pub mod oauth;
pub mod password;
pub mod sessions;
pub mod sign_in;
pub mod store;
